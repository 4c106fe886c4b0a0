"""What pages say of the prompts that the safety floor and a search look at."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.pages import measurement, search_record
from helpers.prune_records import pruned

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.report.search_page import BEYOND_NOTE, search_page
from prosafeprune.requests.recipe import make_recipe


@pytest.mark.parametrize("by_category", [True, False])
def test_that_single_domains_and_languages_are_not_held_to_the_floor_is_said(by_category: bool) -> None:
    """--suite beyond holds groups to it; their domains and languages are rows of a table alone."""

    def of_domains(measured: Measurement) -> Measurement:
        harmless, harmful = measured.sets
        domains = replace(harmful.evaluation_set, title="domains, harmful", by_category=by_category)
        return Measurement([harmless, replace(harmful, evaluation_set=domains)])

    before, after = (of_domains(measurement(compliant, 970, refused_of=1000)) for compliant in (20, 60))
    page = pruned(before, after)
    sentence = "Single domains are not held to it: there are few prompts of each."
    assert (sentence in page.headline.sentences) is by_category
    rule = next(index for index, text in enumerate(page.headline.sentences) if text.startswith("Safety floor:"))
    assert not by_category or page.headline.sentences[rule + 1] == sentence
    off = pruned(before, after, max_safety_drop=100, accept_unsafe=True)
    assert sentence not in off.headline.sentences


@pytest.mark.parametrize("chosen", [2, None])
@pytest.mark.parametrize(("source", "said"), [("bundled", False), ("beyond", True), ("all", True)])
def test_the_page_of_a_search_says_what_a_quarter_of_its_prompts_are(
    source: str, said: bool, chosen: int | None
) -> None:
    page = search_page(search_record(chosen), make_recipe(model="org/tiny", calibration=source), "tiny")
    assert any(BEYOND_NOTE in sentence for sentence in page.headline.sentences) is said
