"""Chat logs that are damaged, endless or hostile: each fault is reported, the next entry read, and memory bounded."""

import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow
import pytest
from helpers.json_lines import write_rows
from pyarrow import parquet

from prosafeprune.errors import InputError
from prosafeprune.traffic import log_text, log_values
from prosafeprune.traffic.log_files import read_turns
from prosafeprune.traffic.log_formats import UnreadableEntryError
from prosafeprune.traffic.server_log import turns_of_server_log
from prosafeprune.traffic.template_text import read_template
from prosafeprune.traffic.turns import LoggedTurn

CHAT = [{"role": "user", "content": "How do I kill a process?"}, {"role": "assistant", "content": "Use kill."}] * 2


def faults(path: Path) -> list[tuple[int, str]]:
    return [one for one in read_turns(path, "prompt", "completion") if not isinstance(one, LoggedTurn)]


HOSTILE = (
    *(
        "[INST]",
        "[INST][/INST]",
        "[INST] <<SYS>>",
        "[SYSTEM_PROMPT][INST][/INST][TOOL_CALLS]",
        "<|im_start|>",
        "<|turn>",
    ),
    *("<|start|>", "<|start|>system<|message|>", "<|start|>system<|message|># Tools\n\n## functions\n", "<｜User｜>"),
    *("<｜Assistant｜><think><｜tool▁calls▁begin｜>", "<|turn>model\n<|channel>", "<|start_of_role|>user ", "<|user|>"),
)


@pytest.mark.parametrize(
    "text",
    [mark * 50_000 for mark in HOSTILE] + [f"<|turn>model\n{mark * 50_000}" for mark in HOSTILE],
    ids=lambda text: text[:60],
)
def test_no_text_of_a_template_takes_long(text: str) -> None:
    """A pattern that looks for the end again from each beginning would need hours: the test ends."""
    with suppress(UnreadableEntryError):
        read_template(text)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_text_without_its_closing_quote_fills_no_memory(quote: str) -> None:
    line = f"Received request a-1: prompt: {quote}" + "x\\n" * 300_000
    tracemalloc.start()
    assert list(turns_of_server_log([(1, line)])) == []
    assert tracemalloc.get_traced_memory()[1] < 20 * len(line)
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "is not an object"),
        ("{}", "no messages, and no prompt with completion, among: "),
        ('{"text": "a"}', "among: text"),
        ('{"messages": "a"}', "not a list"),
        ('{"messages": ["a"]}', "not an object"),
        ('{"messages": [{"role": "king", "content": "a"}]}', "unknown role 'king'"),
        ('{"messages": [{"role": "user", "content": 3}]}', "neither text nor"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "without an answer"),
        ('{"messages": [{"role": "user", "content": "a"}], "response": {"choices": []}}', "without an answer"),
        ('{"prompt": 1, "completion": "a"}', "must be text"),
        ('{"prompt": "\\ud83d", "completion": "a"}', "a lone surrogate"),
        ("[" * 100_000, "is not valid JSON"),
        (json.dumps({"messages": CHAT * 251}), "has 1,004 messages, more than 1,000"),
        (json.dumps({"prompt": "a" * 1_000_001, "completion": "b"}), "has more than 1,000,000 characters"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_entry_that_cannot_be_read_is_reported_and_the_next_is_read(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{line}\n{json.dumps({'messages': CHAT})}\n")
    (number, why), *turns = read_turns(path, "prompt", "completion")
    assert number == 1
    assert reason in why
    assert len(turns) == 2


def test_a_json_list_that_is_cut_off_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"messages": CHAT}] * 2)[:-10])
    assert faults(path) == [(2, "is not valid JSON, and neither is what follows")]


def test_one_object_that_is_too_large_is_reported_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_values, "LARGEST_OBJECT", 100)
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"samples": [{"messages": CHAT}] * 3}))
    ((number, reason),) = faults(path)
    assert number == 1
    assert "inspect log convert LOG --to eval" in reason


def test_bytes_that_are_no_text_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(json.dumps({"prompt": "caf\u00e9", "completion": "a"}, ensure_ascii=False).encode("latin-1"))
    assert faults(path) == [(1, "is not UTF-8, or has a lone surrogate")]


def test_a_line_that_is_too_long_is_reported_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_text, "LONGEST_LINE", 500)
    path = write_rows(
        tmp_path / "log.jsonl", [{"prompt": "a" * 1200, "completion": "b"}, {"prompt": "a", "completion": "b"}]
    )
    (number, _), turn = read_turns(path, "prompt", "completion")
    assert number == 1
    assert isinstance(turn, LoggedTurn)
    assert turn.line == 2


def damaged_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(json.dumps({"messages": CHAT}).encode() * 100)[:60])


def test_a_quote_that_is_not_closed_swallows_no_row_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('prompt,completion\nOne,two\nThree,"four\nFive,six\nSeven,eight\n')
    first, fault = read_turns(path, "prompt", "completion")
    assert isinstance(first, LoggedTurn) and first.prompt == "One"
    assert fault == (3, "is not valid CSV (unexpected end of data)")  # where the quote is


def test_a_row_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    """As in prompt files."""
    path = tmp_path / "log.csv"
    path.write_text('prompt,completion\n"One\nmore",two\n\n"Three\nfour\nfive"\nSix,seven\n')
    first, fault, last = read_turns(path, "prompt", "completion")
    assert isinstance(first, LoggedTurn) and isinstance(last, LoggedTurn)
    assert (first.line, fault, last.line) == (2, (5, "has 1 cells, and the header has 2"), 8)


def test_a_compressed_line_without_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_text, "LONGEST_LINE", 1000)
    read_at_once: list[int] = []
    real = io.TextIOWrapper.readline

    class Watched(io.TextIOWrapper):
        def readline(self, size: int = -1) -> str:  # type: ignore[override]
            line = real(self, size)
            read_at_once.append(len(line))
            return line

        def __next__(self) -> str:
            return self.readline()

    monkeypatch.setattr(io, "TextIOWrapper", Watched)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"prompt,completion\n" + b"x" * 1_000_000 + b"\nOne,two\n"))
    found = list(read_turns(path, "prompt", "completion"))
    assert max(read_at_once) == 1000
    assert [one.prompt for one in found if isinstance(one, LoggedTurn)] == ["One"]


def encrypted_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/1.json", "{}")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of encryption, in the entry and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def lzma_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("samples/1.json", json.dumps({"messages": CHAT}))
    data = bytearray(path.read_bytes())
    start = data.index(b"samples/1.json") + len("samples/1.json")
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)


def late_parquet(path: Path) -> None:
    late = pyarrow.array([10**14], pyarrow.timestamp("s"))  # in the year 3170843
    parquet.write_table(pyarrow.table({"prompt": ["a"], "completion": ["b"], "when": late}), path)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "log.jsonl.gz": damaged_gzip,
    "other.jsonl.gz": lambda path: path.write_text("not gzip"),
    "log.parquet": lambda path: path.write_text("not parquet"),
    "log.eval": lambda path: path.write_text("not a zip"),
    "encrypted.eval": encrypted_zip,
    "lzma.eval": lzma_zip,
    "late.parquet": late_parquet,
    "twice.csv": lambda path: path.write_text("prompt,completion,prompt\na,b,c\n"),
    "header.csv": lambda path: path.write_text('"prompt\na,b\n'),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path) -> None:
    DAMAGED[name](tmp_path / name)
    with pytest.raises(InputError, match=r"cannot be read \(.*\)\. Repair") as caught:
        list(read_turns(tmp_path / name, "prompt", "completion"))
    assert "\n" not in str(caught.value)
