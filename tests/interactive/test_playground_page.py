"""The playground's page in a browser: it streams, follows the slider, and shows hostile text as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.accessibility import CONTRAST, axe_faults
from helpers.browser import CHROMIUM, DRIVER, Browser
from helpers.web_apps import TOKEN

from prosafeprune.interactive.playground_app import Playground

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its driver"),
]
HOSTILE = "<img src=x onerror=alert(1)></div><script>alert(2)</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def text(browser: Browser, selector: str) -> str:
    return str(browser.evaluate(f"document.querySelector('{selector}').textContent"))


def press(browser: Browser, key: str, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        browser.command("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")


def write(browser: Browser, selector: str, value: str) -> None:
    browser.evaluate(f"document.querySelector('{selector}').focus()")
    browser.command("Input.insertText", text=value)


def opened(browser: Browser, url: str, width: int = 1280, scheme: str = "light") -> None:
    browser.visit("about:blank")
    browser.requests(), browser.console()
    browser.visit(f"{url}/#token={TOKEN}", width=width, scheme=scheme)
    wait_for(lambda: "org" not in text(browser, "#model") and "judge" in text(browser, "#model"))
    browser.evaluate("document.querySelector('#tokens').value = 24")


def ask(browser: Browser, prompt: str) -> None:
    write(browser, "#prompt", prompt)
    press(browser, "Enter", "\r")
    wait_for(lambda: text(browser, "#base .verdict") and text(browser, "#pruned .verdict"))


@pytest.mark.parametrize("width", [1280, 360])
def test_from_a_prompt_to_a_saved_model(
    browser: Browser, playground: tuple[Playground, str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    _, url = playground
    opened(browser, url, width)
    ask(browser, "Hi")
    base, own = text(browser, "#base .answer"), text(browser, "#pruned .answer")
    assert base and own and base != own
    assert "full compliance" in text(browser, "#pruned .verdict")

    browser.evaluate("document.activeElement.blur()")
    for _ in range(20):
        press(browser, "[", "[")
    wait_for(lambda: text(browser, "#pruned .answer") == base and text(browser, "#pruned .verdict"))
    assert text(browser, "#strength-value") == "0.00"
    assert text(browser, "#base .answer") == base

    browser.evaluate("document.querySelector('#plan').value = 'plan-2'")
    browser.evaluate("document.querySelector('#plan').dispatchEvent(new Event('change'))")
    wait_for(lambda: text(browser, "#pruned .answer") == own)
    assert text(browser, "#pruned-title").startswith("Plan 2")

    write(browser, "#harmless", "One\nTwo\nThree, please refuse")
    write(browser, "#harmful", "refuse this\nand not this")
    browser.evaluate("document.querySelector('#run').click()")
    browser.evaluate("setAll(0.5)")  # after the run began, which has the strength of its beginning
    wait_for(lambda: not browser.evaluate("document.querySelector('#run').disabled"))
    colours = "[...document.querySelectorAll('#runs tbody tr')].map(row => row.querySelector('td span').className)"
    assert browser.evaluate(colours) == ["good", "good", "bad", "good", "bad"]  # to answer the last one is bad
    assert (
        text(browser, "#rates th:last-child") == text(browser, "#runs th:last-child") == "Plan 2, strength 0.90, 0.40"
    )
    assert "67 % (2 of 3)67 % (2 of 3)" in text(browser, "#rates tbody").replace("\n", "")
    assert "50 % (1 of 2)50 % (1 of 2)" in text(browser, "#rates tbody").replace("\n", "")

    monkeypatch.setattr("prosafeprune.interactive.playground_app.command", lambda *_: ["--version"])
    write(browser, "#name", "mine")
    browser.evaluate("document.querySelector('#save-button').click()")
    wait_for(lambda: text(browser, "#saved").startswith("Saved in"), 120)

    overflow = browser.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    assert all(address.startswith((url, "data:", "about:")) for address in browser.requests())
    assert browser.console() == []
    assert browser.evaluate("location.hash") == ""


def test_a_hostile_answer_stays_text(
    browser: Browser, playground: tuple[Playground, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, url = playground
    monkeypatch.setattr(made.served.engine, "_decode", lambda ids: HOSTILE * len(ids))
    opened(browser, url)
    before = browser.evaluate("document.querySelectorAll('script, img').length")
    ask(browser, HOSTILE)
    assert text(browser, "#base .answer") == HOSTILE * 24
    write(browser, "#harmless", HOSTILE)
    browser.evaluate("document.querySelector('#run').click()")
    wait_for(lambda: text(browser, "#runs tbody td").strip())
    assert browser.evaluate("document.querySelectorAll('script, img').length") == before
    assert text(browser, "#runs tbody th") == HOSTILE
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1280
    assert browser.console() == []


def test_escape_stops_answers_and_runs_and_a_wrong_token_is_said(
    browser: Browser, playground: tuple[Playground, str]
) -> None:
    made, url = playground
    opened(browser, url)
    browser.evaluate("document.querySelector('#tokens').value = 1500")
    write(browser, "#prompt", "Hi")
    press(browser, "Enter", "\r")
    wait_for(lambda: made.served.engine.load[0] == 2)
    press(browser, "Escape")
    wait_for(lambda: made.served.engine.load == (0, 0))
    assert browser.evaluate("document.querySelector('#stop').disabled")
    write(browser, "#harmless", "One\nTwo\nThree\nFour\nFive")
    browser.evaluate("document.querySelector('#run').click()")
    wait_for(lambda: made.served.engine.load[0] == 8)
    press(browser, "Escape")
    wait_for(lambda: made.served.engine.load == (0, 0))
    wait_for(lambda: not browser.evaluate("document.querySelector('#run').disabled"))
    assert text(browser, "#problem") == ""
    browser.visit("about:blank")
    browser.visit(f"{url}/#token=wrong")
    wait_for(lambda: "token" in text(browser, "#problem"))
    browser.console()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "light"), (1280, "dark"), (360, "dark")])
def test_everyone_can_read_and_use_the_page(
    browser: Browser, playground: tuple[Playground, str], width: int, scheme: str
) -> None:
    _, url = playground
    opened(browser, url, width, scheme)
    faults = axe_faults(browser)
    browser.evaluate("document.querySelector('details').open = true")
    ask(browser, "Hi")
    write(browser, "#harmless", "One\nTwo, please refuse")
    browser.evaluate("document.querySelector('#run').click()")
    wait_for(lambda: "1 of 2" in text(browser, "#rates tbody"))
    faults += axe_faults(browser)
    assert faults == []
    assert browser.evaluate(CONTRAST) == []
