"""Records from anywhere: no exception but InputError."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosafeprune.errors import InputError
from prosafeprune.report.edit_record import EditRecord
from prosafeprune.report.record import RECORD_FILE, Record, read_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.dictionaries(st.sampled_from([*Record.model_fields, *EditRecord.model_fields]), JSON, max_size=12)


@pytest.mark.parametrize("drop", ["x", None, [60], {}, float("nan"), True])
def test_an_older_recipe_with_an_odd_drop_is_one_line(drop: object, tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text(json.dumps({"recipe": {"max_safety_drop": drop}}))
    with pytest.raises(InputError, match="cannot be read as a record"):
        read_record(tmp_path)


@given(content=st.one_of(st.binary(max_size=200), FIELDS.map(json.dumps), JSON.map(json.dumps)))
def test_any_file_is_a_record_or_one_line(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / RECORD_FILE
        file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
        with pytest.raises(InputError) as caught:
            read_record(Path(folder))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "folder", "deep", "digits", "missing"])
def test_what_is_no_record_is_one_line(kind: str, tmp_path: Path) -> None:
    file = tmp_path / RECORD_FILE
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind != "missing":
        file.write_text("[" * 100_000 if kind == "deep" else f'{{"format": {"9" * 5000}}}')
    with pytest.raises(InputError) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)
