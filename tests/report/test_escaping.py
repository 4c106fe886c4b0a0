"""Pages of hostile text: nothing is interpreted."""

from __future__ import annotations

from itertools import pairwise

import pytest
from helpers.hostile_pages import pages_of_evil
from helpers.pages import Reader

from prosafeprune.report.page import render_page


@pytest.mark.long
@pytest.mark.parametrize("kind", pages_of_evil())
def test_prompts_answers_and_names_stay_text_on_every_page(kind: str) -> None:
    make = pages_of_evil()[kind]
    html = render_page(make())
    page = Reader(html)
    assert not page.all("script")
    assert all(image.keys() == {"src", "alt"} for image in page.all("img"))
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    assert "alert(1)" in page.text
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(html.encode()) < 500_000
    assert html == render_page(make())  # from the same data
