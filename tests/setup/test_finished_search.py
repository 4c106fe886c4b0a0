"""Records of finished searches that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.pages import search_record

from prosafeprune.errors import InputError
from prosafeprune.plan_search.search_record import FORMAT, RECORD
from prosafeprune.setup.finished_search import read_search, require_kept_point, require_kept_search


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


def test_a_plan_of_a_search_with_other_settings_names_the_searches_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path))
    kept = [tmp_path / "searches" / name for name in (f"tiny-{'a' * 12}", f"tiny-chat-{'b' * 12}")]
    for folder in kept:
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(search_record().model_copy(update={"made_by": {}}).model_dump_json())
    require_kept_search(kept[0], "org/tiny", 9)
    with pytest.raises(InputError) as refused:
        require_kept_search(tmp_path / "searches" / f"tiny-{'c' * 12}", "org/tiny", 2)
    assert "no search with these settings is finished" in str(refused.value)
    assert str(kept[0]) in str(refused.value) and str(kept[1]) not in str(refused.value)  # that is another model
    require_kept_point("org/tiny", 3)
    with pytest.raises(InputError, match="have the points 1 to 3"):
        require_kept_point("org/tiny", 4)
    (kept[0] / RECORD).unlink()
    require_kept_point("org/tiny", 4)  # it may have been searched under the other name
