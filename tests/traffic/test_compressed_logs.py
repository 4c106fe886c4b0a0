"""Logs compressed with Zstandard, and inspect_ai's archives with each compression."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow
import pytest

from prosafeprune.errors import InputError
from prosafeprune.traffic import log_values
from prosafeprune.traffic.log_files import find_logs, read_turns
from prosafeprune.traffic.turns import LoggedTurn

CHAT = [
    {"role": "user", "content": "How do I kill a process?"},
    {"role": "assistant", "content": "I can't help with that."},
]
TURN = ("How do I kill a process?", "I can't help with that.")
LONG = {"messages": [{"role": "user", "content": "attachment://abc"}, CHAT[1]], "attachments": {"abc": TURN[0]}}


def zstd(data: bytes) -> bytes:
    buffer = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(data)
    return bytes(buffer.getvalue().to_pybytes())


def read(path: Path) -> list[tuple[str, str]]:
    found = list(read_turns(path, "prompt", "completion"))
    assert all(isinstance(one, LoggedTurn) for one in found), found
    return [(one.prompt, one.answer) for one in found if isinstance(one, LoggedTurn)]


def write_archive(path: Path, method: int) -> None:
    """Write an archive as zipfile does; of Zstandard, by putting the compressed data and their method in place."""
    members = {"header.json": b"{}", "samples/1_epoch_1.json": json.dumps(LONG).encode()}
    members["samples/2_epoch_1.json"] = json.dumps({"messages": CHAT}).encode()
    if method != log_values.ZSTANDARD:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return
    out, directory = io.BytesIO(), b""
    for name, data in members.items():
        packed, at = zstd(data), out.tell()
        extra = struct.pack("<HHI", 0xCAFE, 4, 0)  # in the header of the member, but not in the directory
        about = struct.pack("<HHHHHIII", 20, 0, method, 0, 33, zlib.crc32(data), len(packed), len(data))
        out.write(b"PK\x03\x04" + about + struct.pack("<HH", len(name), len(extra)) + name.encode() + extra + packed)
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + about
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, at) + name.encode()
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), out.tell(), 0)
    path.write_bytes(out.getvalue() + directory + b"PK\x05\x06" + end)


@pytest.mark.parametrize("name", ["log.jsonl.zst", "log.json.zst", "LOG.JSONL.ZST"])
def test_lines_and_lists(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    entry = json.dumps({"messages": CHAT})
    text = f"[{entry}, {entry}]" if ".json." in name else f"{entry}\n{entry}\n"
    path.write_bytes(zstd(text.encode()))
    assert find_logs([tmp_path]) == [path]
    assert read(path) == [TURN] * 2


def test_a_file_of_several_frames(tmp_path: Path) -> None:
    """Logs that are rotated and put one after the other, as with gzip."""
    path = tmp_path / "log.jsonl.zst"
    path.write_bytes(zstd(f"{json.dumps({'messages': CHAT})}\n".encode()) * 3)
    assert read(path) == [TURN] * 3


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, log_values.ZSTANDARD])
def test_an_eval_log_of_inspect_with_its_attachments(method: int, tmp_path: Path) -> None:
    write_archive(tmp_path / "log.eval", method)
    with zipfile.ZipFile(tmp_path / "log.eval") as archive:
        assert {one.compress_type for one in archive.infolist()} == {method}
    assert read(tmp_path / "log.eval") == [TURN] * 2


def spoilt(data: bytes) -> bytes:
    at = data.index(b"samples/2") + 40
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 8]) + data[at + 8 :]


def test_a_damaged_member_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    write_archive(path, log_values.ZSTANDARD)
    path.write_bytes(spoilt(path.read_bytes()))
    with pytest.raises(InputError, match=r"cannot be read \(.*\)\. Repair"):
        list(read_turns(path, "prompt", "completion"))


def test_a_member_that_is_longer_than_it_says_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "log.eval"
    write_archive(path, log_values.ZSTANDARD)
    size = struct.pack("<I", len(json.dumps({"messages": CHAT})))
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 9)))
    with pytest.raises(InputError, match="samples/2_epoch_1.json is damaged"):
        list(read_turns(path, "prompt", "completion"))


@pytest.mark.parametrize("data", [b"not zstd", zstd(b'{"prompt": "a", "completion": "b"}\n' * 100)[:-8]])
def test_a_damaged_file_is_one_line(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl.zst"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cannot be read \(.*\)\. Repair"):
        list(read_turns(path, "prompt", "completion"))
