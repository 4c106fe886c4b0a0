"""Pages of things whose words are as bad as can be: none gets out of its text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from helpers.hostile_pages import pages_of_evil
from helpers.pages import Reader

from prosafeprune.report.page import render_page


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
