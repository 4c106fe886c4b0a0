"""Prompt files that do not say clearly what they hold: never read in part, never a traceback."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prosafeprune.errors import InputError
from prosafeprune.prompts import read_prompts
from prosafeprune.prompts.rows import require_complete_characters


def texts(tmp_path: Path, content: str, name: str = "a.csv") -> list[str]:
    (tmp_path / name).write_bytes(content.encode())
    return read_prompts(str(tmp_path / name), "benign").texts


def test_a_file_with_one_column_may_hold_unquoted_commas(tmp_path: Path) -> None:
    assert texts(tmp_path, 'prompt\nTell me, please, of bees\n"One, quoted"\nAnd,\n') == [
        "Tell me, please, of bees",
        "One, quoted",
        "And,",
    ]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("prompt,category\nOne,x\nTell me, please,x\n", 3, "has 3 cells, and the header has 2"),
        ("prompt,category\nOne,x\nTwo\n", 3, "has 1 cells, and the header has 2"),
        ("category,prompt\nx,Tell me, please\n", 2, "has 3 cells"),
        ('prompt\nOne\n"Two\nThree\nFour\n', 3, "not valid CSV"),
        ('prompt,category\n"One,x\nTwo,x\n"Three",x\n', 2, "not valid CSV"),
        ('prompt\n"One" and more\n', 2, "not valid CSV"),
        ("prompt,category,prompt\nOne,x,Two\n", 1, "two columns are called 'prompt'"),
        ("prompt\nOne\n" + "x" * 11_000_000 + "\n", 3, "not valid CSV"),
    ],
)
def test_a_row_that_would_be_cut_or_swallowed_is_named(tmp_path: Path, content: str, line: int, message: str) -> None:
    with pytest.raises(InputError, match=f"line {line}: {message}"):
        texts(tmp_path, content)


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_line_ends_may_be_mixed(tmp_path: Path, name: str) -> None:
    content = "prompt\r\nOne\nTwo\r\nThree\rFour\n"
    assert texts(tmp_path, content, name)[-4:] == ["One", "Two", "Three", "Four"]


def test_a_byte_order_mark_is_no_part_of_the_column(tmp_path: Path) -> None:
    assert texts(tmp_path, "\ufeffprompt\nOne\n") == ["One"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "cut \\ud83d"}', "lone surrogate"),
        ('{"prompt": "a", "category": "\\udc00"}', "lone surrogate"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' is given twice"),
        ('{"prompt": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"prompt": ["a"]}', "is empty or not text"),
        ('{"prompt": null}', "is empty or not text"),
    ],
)
def test_a_bad_row_of_json_lines_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=f"line 2: .*{message}") as caught:
        texts(tmp_path, '{"prompt": "fine"}\n' + row + "\n", "a.jsonl")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1"])
def test_text_in_another_encoding_is_never_read_as_other_prompts(name: str, encoding: str, tmp_path: Path) -> None:
    row = {"a.txt": "Make caf\u00e9", "a.csv": "prompt\nMake caf\u00e9", "a.jsonl": '{"prompt": "caf\u00e9"}'}[name]
    (tmp_path / name).write_bytes(f"{row}\n".encode(encoding))
    with pytest.raises(InputError, match="Save it as UTF-8"):
        read_prompts(str(tmp_path / name), "benign")
    (tmp_path / "plain.txt").write_bytes("Tell me of bees\n".encode("utf-16-le"))  # valid UTF-8, with a null a letter
    with pytest.raises(InputError, match="has null characters"):
        read_prompts(str(tmp_path / "plain.txt"), "benign")


def test_a_row_that_is_read_but_too_deep_to_write_is_one_line() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InputError, match="line 1: is nested too deep"):
        require_complete_characters({"x": deep}, "a.jsonl, line 1")


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_a_name_repeated_after_many_others_is_found_at_once(kind: str, tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(30_000)] + ["c29999"]
    pairs = ", ".join(f'"{name}": 1' for name in names)
    begin = time.process_time()
    with pytest.raises(InputError, match="c29999' is given twice|two columns are called 'c29999'"):
        texts(tmp_path, ",".join(names) if kind == ".csv" else "{" + pairs + "}", f"a{kind}")
    assert time.process_time() - begin < 10


def test_a_prompt_that_no_model_reads_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: has 1000001 characters, more than models read"):
        texts(tmp_path, "fine\n" + "x" * 1_000_001 + "\n", "a.txt")


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.txt", "folder.csv", "endless.jsonl"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_prompts(str(tmp_path / name), "benign")


@pytest.mark.parametrize(
    "source", ["a\0.txt", "x" * 5000 + ".txt", "x" * 5000, "~nobody-of-that-name/a.txt", "\ud83d.csv", ""]
)
def test_a_name_that_cannot_be_one_is_one_clear_line(source: str) -> None:
    with pytest.raises(InputError) as caught:
        read_prompts(source, "benign")
    assert "\n" not in str(caught.value)


PIECES = st.sampled_from(
    [
        "prompt",
        "category",
        ",",
        '"',
        '""',
        "\n",
        "\r",
        "\r\n",
        "\0",
        "\ufeff",
        "{",
        "}",
        "[",
        ":",
        "\\ud83d",
        "1e999",
        " ",
    ]
)
CONTENT = st.one_of(st.binary(max_size=200), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))


@given(content=CONTENT, kind=st.sampled_from([".csv", ".json", ".jsonl", ".txt"]))
@example(content='prompt\n"', kind=".csv")
@example(content='{"prompt": "\\ud83d"}', kind=".jsonl")
def test_any_file_gives_prompts_or_one_clear_line(content: bytes | str, kind: str) -> None:
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"a{kind}"
        file.write_bytes(data)
        try:
            prompts = read_prompts(str(file), "benign")
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert all(text.strip() and text.encode() for text in prompts.texts)


def test_json_lines_in_a_text_file_are_no_prompts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.txt, line 2: is a JSON object.*\.jsonl"):
        texts(tmp_path, '\n{"prompt": "Name a star."}\n', "a.txt")
    assert texts(tmp_path, '{"half an object\n{{ braces }}\n', "a.txt") == ['{"half an object', "{{ braces }}"]
