"""Pages to review candidates on: what is in them cannot run, their size is bounded, and nothing is left out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Run
from helpers.json_lines import read_rows, write_rows

import prosafeprune
from prosafeprune.report import review_page
from prosafeprune.report.review_page import review_pages

NO = "I'm sorry, but I can't help with that request."
EVIL = "</script><script>alert(1)</script><!--\u2028<img src=x onerror=alert(2)>&amp;"


def chat(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]}


def rows_of(page: str) -> list[dict[str, Any]]:
    return list(json.loads(page.split('id="rows">')[1].split("</script>")[0]))


def test_texts_cannot_leave_the_json_of_the_page(tmp_path: Path) -> None:
    log = write_rows(tmp_path / "log.jsonl", [chat(EVIL, f"{NO} {EVIL}", f"{EVIL} again", f"{NO} {EVIL}")])
    prosafeprune.mine_prompts(log, tmp_path / "mined", progress=False)
    page = (tmp_path / "mined" / "review.html").read_text()
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert EVIL in {row["prompt"] for row in rows_of(page)}


def test_the_page_allows_its_own_script_and_style_alone() -> None:
    [(_, page)] = review_pages([], "review.html", "reviewed.jsonl")
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts.keys() == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert parts[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert "unsafe" not in policy
    assert "http:" not in page
    assert "https:" not in page


def test_what_does_not_fit_on_a_page_is_on_the_next(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_page, "MOST_ON_A_PAGE", 3000)
    words = ("run", "hide", "kill time", "shoot a film", "crack a nut")
    log = write_rows(tmp_path / "log.jsonl", [chat(f"About {word}: " + "a b " * 250, NO) for word in words])
    out, err = run.ok("prompts", "mine", log, "-o", tmp_path / "mined", "--json")
    assert json.loads(out)["review_pages"] == 5
    assert "4 more pages follow it" in err.replace("\n", " ")
    folder = tmp_path / "mined"
    names = ["review.html", "review-2.html", "review-3.html", "review-4.html", "review-5.html"]
    assert {one.name for one in folder.glob("*.html")} == set(names)
    pages = [(folder / name).read_text() for name in names]
    candidates = read_rows(folder / "candidates.jsonl")
    assert [row["messages"] for page in pages for row in rows_of(page)] == [row["messages"] for row in candidates]
    for page, following in zip(pages, [*names[1:], None], strict=True):
        assert re.findall(r'<a href="(.*?)">', page) == ([following] if following else [])
    assert "Save reviewed.jsonl" in pages[0]
    assert "Save reviewed-5.jsonl" in pages[4]


def test_a_page_is_full_only_when_the_next_candidate_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_page, "MOST_ON_A_PAGE", 100)
    about = {"completion": "", "class": "full_refusal", "times": 1, "log": "a", "line": 1}
    rows = [
        {"prompt": "a" * size, "messages": [{"role": "user", "content": "a" * size}], **about}
        for size in (25, 25, 1, 90)
    ]
    pages = dict(review_pages(rows, "review.html", "reviewed.jsonl"))
    assert {name: len(rows_of(page)) for name, page in pages.items()} == {
        "review.html": 2,
        "review-2.html": 1,
        "review-3.html": 1,
    }


def test_findings_that_a_browser_keeps_belong_to_the_requests_of_their_page() -> None:
    about = {"completion": "", "class": "full_refusal", "times": 1, "log": "a", "line": 1}

    def kept(prompt: str) -> str:
        row = {"prompt": prompt, "messages": [{"role": "user", "content": prompt}], **about}
        [(_, page)] = review_pages([row], "review.html", "reviewed.jsonl")
        return page.split('data-hash="')[1].split('"')[0]

    assert kept("One") == kept("One") != kept("Two")
