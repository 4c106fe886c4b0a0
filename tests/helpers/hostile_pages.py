"""Shared by test_escaping and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.pages import EVIL, analysed, analysis_result, compared, measurement, search_record
from helpers.prune_records import PLAN, evaluated, pruned
from prosafeprune.report.page import Page
from prosafeprune.report.search_page import search_page
from prosafeprune.requests.recipe import make_recipe

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
            {
                "probe": analysis_result(NAME, summary=[EVIL] * 3),
                "lens": analysis_result(EVIL, summary=[EVIL], rows=20),
            },
            model=NAME,
            against=NAME,
            layers=3,
        ),
    }
