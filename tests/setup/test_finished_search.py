"""Records of finished searches that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.plan_search.search_record import FORMAT, RECORD
from prosafeprune.setup.finished_search import read_search


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"format": FORMAT + 1}, "was written by a newer version of prosafeprune .* Upgrade: pip install"),
        ({"format": FORMAT}, "cannot be read as the record of a search. Search again"),
        ([], "cannot be read as the record of a search. Search again"),
    ],
)
def test_a_search_that_cannot_be_read_says_why(record: object, message: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        read_search(tmp_path)


def test_a_folder_without_a_finished_search(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no finished search"):
        read_search(tmp_path)
