"""GGUF files whose parts or tensors contradict each other: one line, instead of weights of something else."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.tiny_models import make_model

from prosafeprune.errors import InputError
from prosafeprune.model.gguf_file import gguf_parts, open_gguf, open_parts

NORM, OTHER = "blk.0.attn_norm.weight", "blk.1.attn_norm.weight"


@pytest.fixture(scope="module")
def files() -> tuple[dict[str, Any], dict[str, Any]]:
    model = make_model("llama")
    return gguf_metadata(model.config), gguf_tensors(model, "llama")


def with_offset(file: Path, change: Any) -> Path:
    """Change where the data of a vector is, as the file's list of tensors says."""
    raw = bytearray(file.read_bytes())
    at = raw.index(NORM.encode()) + len(NORM) + struct.calcsize("<IQI")
    struct.pack_into("<Q", raw, at, change(struct.unpack_from("<Q", raw, at)[0]) % 2**64)
    (copy := file.with_name("moved.gguf")).write_bytes(raw)
    return copy


@pytest.mark.parametrize("change", [lambda at: 0, lambda at: at - 32, lambda at: at + 4, lambda at: -32])
def test_tensors_that_share_bytes_are_refused(change: Any, files: Any, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf", "llama", *files)
    assert open_gguf(with_offset(file, lambda at: at)).tensors
    with pytest.raises(InputError, match=r"moved\.gguf: .*the data of .* is not at an offset of its own"):
        open_gguf(with_offset(file, change))


def split(folder: Path, files: Any, further: dict[str, Any], **changes: Any) -> Path:
    """Write a file in two parts; the second has ``further`` metadata, and ``changes`` are of what it says of itself."""
    metadata, tensors = files
    names = sorted(tensors)
    for number, part in enumerate((names[::2], names[1::2])):
        of_split = {"split.no": number, "split.count": 2, "split.tensors.count": len(names)}
        of_split |= {key.replace("_", "."): value for key, value in changes.items()} if number else {}
        given = further if number else metadata
        inside = {name: tensors[name] for name in part}
        write_gguf(folder / f"a-0000{number + 1}-of-00002.gguf", "llama", given, inside, of_split)
    return folder / "a-00001-of-00002.gguf"


def test_parts_of_one_model_are_opened(files: Any, tmp_path: Path) -> None:
    assert len(open_parts(split(tmp_path, files, {}))) == 2
    assert len(open_parts(split(tmp_path, files, {"block_count": files[0]["block_count"]}))) == 2


@pytest.mark.parametrize(
    ("further", "changes", "message"),
    [
        ({"block_count": 9}, {}, r"a-00002-of-00002\.gguf: is of another model than a-00001.*: llama\.block_count"),
        ({}, {"split_no": 0}, r"a-00002-of-00002\.gguf: says split\.no = 0, and its name 1"),
        ({}, {"split_count": 3}, r"a-00002-of-00002\.gguf: says split\.count = 3, and its name 2"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    further: dict[str, Any], changes: dict[str, Any], message: str, files: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        open_parts(split(tmp_path, files, further, **changes))


def test_a_count_of_parts_that_is_no_number_is_refused(files: Any, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf", "split", {"count": "two"}, files[1])
    with pytest.raises(InputError, match=r"a\.gguf: its metadata says split\.count = 'two', which is no number"):
        gguf_parts(file)
