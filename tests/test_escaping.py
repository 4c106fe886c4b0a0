"""Pages of things whose words are as bad as can be: none gets out of its text."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from pages import EVIL, Reader, analysed, compared, findings, measurement, search_record
from test_report import PLAN, evaluated, pruned

from prosafeprune.recipe import make_recipe
from prosafeprune.report.page import Page, render_page
from prosafeprune.report.search_page import search_page

NAME = EVIL.replace("\ud800", "")  # settings take no lone surrogates


def evil_methods() -> dict[str, Any]:
    return {
        "request": {"model": NAME, "harmful": NAME},
        "settings": {"prosafeprune": {"plan": PLAN.model_dump(mode="json")}, EVIL: {EVIL: {EVIL: [EVIL, 0.5]}}},
        "learned": {EVIL: EVIL},
        "left_out": {EVIL: EVIL},
    }


def pages_of_evil() -> dict[str, Callable[[], Page]]:
    one, two = (measurement(count, 95, answer=EVIL, words=EVIL) for count in (20, 50))
    search = search_record()
    return {
        "pruned": lambda: pruned(one, two, search, plan=search.points[1].plan, model=NAME, harmful=NAME),
        "not saved": lambda: pruned(one, two, saved=False, model=NAME),
        "evaluated": lambda: evaluated(two, model=EVIL),
        "compared": lambda: evaluated(two, one, model=EVIL, name=EVIL),
        "searched": lambda: search_page(search, make_recipe(model=NAME), NAME),
        "methods": lambda: compared({"default": one, "prosafeprune": two, EVIL: two}, **evil_methods()),
        "analysed": lambda: analysed(
            {"probe": findings(NAME, told=[EVIL] * 3), "lens": findings(EVIL, told=[EVIL], rows=20)},
            model=NAME,
            against=NAME,
            layers=3,
        ),
    }


@pytest.mark.parametrize("kind", pages_of_evil())
def test_no_page_lets_a_prompt_an_answer_or_a_name_out_of_its_text(kind: str) -> None:
    make = pages_of_evil()[kind]
    html = render_page(make())
    page = Reader(html)
    assert not page.all("script")
    assert not page.all("img")
    assert "alert(1)" in page.text
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(html.encode()) < 500_000
    assert html == render_page(make())  # made anew from the same data
