"""The review page in a real browser: reviewed with the keyboard, saved, read back by commands, and resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import CHROMIUM, DRIVER, Browser

from prosafeprune.prompts import PromptClass, read_reviewed
from prosafeprune.report.review_page import review_pages

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs Chromium and its driver"),
]
EVIL = "</script><img src=https://example.com/x onerror=\"document.title='owned'\"><b>\u2028"
PROMPTS = ["Which knife is best for trout?", f"Explain {EVIL}", "How do I poison my uncle?", "Tell me more", "Last one"]


def candidate(prompt: str, number: int) -> dict[str, Any]:
    earlier = [
        {"role": "system", "content": EVIL},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": EVIL},
    ]
    messages = [*(earlier if number == 1 else []), {"role": "user", "content": prompt}]
    about = {"log": "log.jsonl", "line": number, "class": "full_refusal", "times": number + 1, "review": "open"}
    return {"prompt": prompt, "messages": messages, "completion": f"I can't. {EVIL}" + "a" * 2000, **about}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(tmp_path: Path, browser: Browser) -> Iterator[Path]:
    path = tmp_path / "review.html"
    rows = [candidate(prompt, number) for number, prompt in enumerate(PROMPTS)]
    [(_, text)] = review_pages(rows, path.name, "reviewed.jsonl")
    path.write_text(text, encoding="utf-8")
    yield path
    browser.evaluate("localStorage.clear(), 0")  # all files share it


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            browser.command("Input.dispatchKeyEvent", type=kind, key=key, **text)


def shown(browser: Browser, part: str) -> str:
    return str(browser.evaluate(f"document.getElementById('{part}').textContent"))


def saved(folder: Path) -> Path:
    path = folder / "reviewed.jsonl"
    for _ in range(300):
        if path.exists() and path.stat().st_size:  # Chromium makes the file before it writes into it
            return path
        time.sleep(0.1)
    raise AssertionError(f"nothing was saved: {list(folder.iterdir())}")


def open_page(browser: Browser, page: Path, **options: Any) -> None:
    browser.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(page.parent))
    browser.open(page, **options)


def leave(browser: Browser) -> None:
    """Let the page be left without asking, as when its tab crashes."""
    browser.evaluate("window.addEventListener('beforeunload', (event) => event.stopImmediatePropagation(), true), 0")


def test_a_review_with_the_keyboard_is_saved_and_read_back(browser: Browser, page: Path) -> None:
    open_page(browser, page)
    assert shown(browser, "prompt") == PROMPTS[0]
    press(browser, "1")
    assert shown(browser, "prompt") == PROMPTS[1]
    assert EVIL in shown(browser, "earlier")
    assert len(shown(browser, "answer")) < 700
    press(browser, "3", "1", "ArrowLeft", "2", "ArrowLeft", "ArrowLeft", "n")  # the third is changed; on to an open one
    assert shown(browser, "position") == "4 of 5; 3 reviewed"
    assert "refused 4 times" in shown(browser, "about")
    press(browser, "1", "2", "0", "s")  # that of the last is cleared
    path = saved(page.parent)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert [row["prompt"] for row in found] == PROMPTS[:4]
    assert [row["review"] for row in found] == ["harmless", "unsure", "harmful", "harmless"]


def test_saved_findings_select_the_prompts_of_each_option_and_are_loaded_again(browser: Browser, page: Path) -> None:
    open_page(browser, page)
    press(browser, "1", "3", "2", "1", "s")
    path = saved(page.parent)
    assert read_reviewed(str(path), PromptClass.PSEUDO_HARMFUL).texts == [PROMPTS[0], PROMPTS[3]]
    assert read_reviewed(str(path), PromptClass.HARMFUL).texts == [PROMPTS[2]]
    open_page(browser, page)
    assert shown(browser, "position") == "1 of 5; 0 reviewed"
    root = browser.command("DOM.getDocument")["root"]["nodeId"]
    node = browser.command("DOM.querySelector", nodeId=root, selector="#load")["nodeId"]
    browser.command("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    for _ in range(100):
        if shown(browser, "position") == "5 of 5; 4 reviewed":
            break
        time.sleep(0.1)
    assert shown(browser, "position") == "5 of 5; 4 reviewed"
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(e => e.dataset.finding)"
    press(browser, "ArrowLeft")
    assert browser.evaluate(pressed) == ["harmless"]


def test_findings_that_were_not_saved_are_there_when_the_page_is_opened_again(browser: Browser, page: Path) -> None:
    open_page(browser, page)
    press(browser, "1", "2", "3", "ArrowLeft", "0")
    leave(browser)
    open_page(browser, page)
    assert shown(browser, "position") == "3 of 5; 2 reviewed"  # on to the first open one
    assert browser.evaluate("document.getElementById('restored').hidden") is False
    kept = str(browser.evaluate("JSON.stringify(localStorage)"))
    assert "harmful" in kept
    assert "knife" not in kept
    press(browser, "1", "s")
    found = [json.loads(line) for line in saved(page.parent).read_text(encoding="utf-8").split("\n") if line]
    assert [row["review"] for row in found] == ["harmless", "harmful", "harmless"]
    assert browser.evaluate("document.getElementById('restored').hidden") is True
    open_page(browser, page)  # what is saved is not kept twice
    assert shown(browser, "position") == "1 of 5; 0 reviewed"
    assert browser.console() == []


def test_findings_are_those_of_the_same_requests(browser: Browser, page: Path, tmp_path: Path) -> None:
    open_page(browser, page)
    press(browser, "1")
    leave(browser)
    [(_, text)] = review_pages([candidate(prompt, 0) for prompt in PROMPTS], page.name, "reviewed.jsonl")
    page.write_text(text, encoding="utf-8")
    open_page(browser, page)
    assert shown(browser, "position") == "1 of 5; 0 reviewed"


def test_a_browser_without_storage_reviews_too(browser: Browser, page: Path) -> None:
    open_page(browser, page)
    browser.evaluate("Storage.prototype.setItem = Storage.prototype.removeItem = () => { throw new Error('full'); }, 0")
    press(browser, "1", "2", "s")
    assert saved(page.parent).read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_loads_nothing_runs_nothing_of_others_and_fits(
    scheme: str, browser: Browser, page: Path, tmp_path: Path
) -> None:
    """The screenshots are for people: pytest --basetemp=DIR keeps them."""
    browser.requests(), browser.console()  # those of other pages
    for width in (320, 1280):
        open_page(browser, page, width=width, scheme=scheme)
        press(browser, "ArrowRight")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.images.length") == 0
        assert browser.evaluate("document.title") == "5 refused requests to review"
        browser.screenshot(tmp_path / f"{width}.png")
    assert browser.console() == []
    asked = {url for url in browser.requests() if not url.startswith("blob:")}
    assert asked == {page.resolve().as_uri()}


def test_no_other_script_runs(browser: Browser, page: Path) -> None:
    """The policy holds: a script that got into the page does nothing."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", "<script>document.title = 'owned'</script></body>"), encoding="utf-8")
    open_page(browser, page)
    assert browser.evaluate("document.title") == "5 refused requests to review"
    assert any("Content Security Policy" in line for line in browser.console())
