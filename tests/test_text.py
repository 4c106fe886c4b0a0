"""Text that others wrote: what a terminal or a page would obey is removed, the rest is kept."""

from __future__ import annotations

import json

import pytest

from prosafeprune.text import (
    did_you_mean,
    for_terminal,
    is_blank,
    isolated,
    json_for_terminal,
    printable,
    shared_name,
    short_name,
    slug,
    told_apart,
    without_folder,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 🙂\ttab\nline", "plain é 漢字 🙂\ttab\nline"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;ZXZpbA==\x1b\\text", "text"),  # writes the clipboard
        ("\x1b[2J\x1b[31;1mred\x1b[0m", "red"),
        ("\x1bPq#0;2;0\x1b\\sixel", "sixel"),
        ("\x9b2Jc1\x9d0;t\x9c", "c1"),
        ("\x1bcreset\x1b(B", "reset"),
        ("over\rwritten\x08\x7f\x00", "overwritten"),
        ("\u202egpj.exe\u2066\u200f", "gpj.exe"),
        ("cut \ud83d emoji", "cut \ufffd emoji"),
        ("\x1b]0;unfinished", ""),
        ("line\r\nline", "line\nline"),
        ("a\u2028b", "ab"),
    ],
)
def test_a_terminal_is_given_nothing_that_it_obeys(text: str, shown: str) -> None:
    assert for_terminal(text) == shown


def test_long_hostile_text_is_cleaned_in_linear_time() -> None:
    for part in ("\x1b]", "\x1b[", "\x1b[0;", "\x9d", "\x1bP0", "\x1b "):
        assert len(for_terminal(part * 200_000)) <= 200_000 * len(part)


def test_json_keeps_its_meaning() -> None:
    values = {"answer": "\x1b[2J\x9b\u202e é", "n": 1}
    shown = json_for_terminal(json.dumps(values, ensure_ascii=False, indent=2))
    assert json.loads(shown) == values
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "é" in shown


def test_invalid_characters_are_marked_on_pages() -> None:
    assert printable("a\x00b\x1b\ud800\n\u202e") == "a\ufffdb\ufffd\ufffd\n\u202e"


def test_a_right_to_left_name_is_isolated() -> None:
    assert isolated("Qwen2.5-7B") == "Qwen2.5-7B"
    assert isolated("\u05d0\u05d1") == "\u2068\u05d0\u05d1\u2069"
    assert isolated("a\u202eb") == "\u2068ab\u2069"
    assert short_name("/home/me/tiny/") == "tiny"


@pytest.mark.parametrize(
    ("name", "slugged"),
    [("org/Qwen2.5-7B", "Qwen2.5-7B"), ("/a/b c", "b-c"), ("..", "model"), ("", "model"), ("漢字", "model")],
)
def test_a_slug_is_a_safe_file_name(name: str, slugged: str) -> None:
    assert slug(name) == slugged


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/x.csv", "x.csv"),
        ("mine=/home/me/x.csv", "mine=x.csv"),
        ("/home/me/a=b/x.csv", "x.csv"),
        ("mine=/home/me/a=b.csv", "mine=a=b.csv"),
        ("~/x.csv", "x.csv"),
        ("C:\\Users\\me\\x.csv", "x.csv"),
        ("data/x.csv", "data/x.csv"),
        ("org/model", "org/model"),
        ("scan.threshold=0.7", "scan.threshold=0.7"),
        ("a\n/b", "a\n/b"),
    ],
)
def test_absolute_paths_lose_their_folders(value: str, shown: str) -> None:
    assert without_folder(value) == shown


def test_a_name_for_records_tells_models_in_different_folders_apart() -> None:
    assert shared_name("org/model") == "org/model"
    one, other = shared_name("/home/me/v1/judge"), shared_name("/home/me/v2/judge")
    assert one != other
    assert one.startswith("judge-")
    assert "/" not in one + other


@pytest.mark.parametrize(
    ("name", "said"), [("xtest", " Did you mean xstest?"), ("advbnech", " Did you mean advbench?"), ("magic", "")]
)
def test_a_misspelt_name_is_put_right_where_one_is_like_it(name: str, said: str) -> None:
    assert did_you_mean(name, ("advbench", "xstest", "oktest")) == said


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\u200b\u200d", "\ufeff", "\u2060 \u00ad", "\u3164", "\u2800", "\ufe0f", "\x00"]
)
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}a")
    assert not is_blank(f"{text}\u093e")  # a mark that is seen


@pytest.mark.parametrize(
    ("points", "limit", "shown"),
    [
        (3.03, 3, "3.03"),
        (3.0003, 3, "3.0003"),
        (2.96, 3, "2.96"),
        (3.5, 3, "3.5"),
        (3, 3, "3.0"),
        (1.0 / 3.0, 0.3, "0.33"),
        (0.04, 0, "0.04"),
        (3 + 1e-12, 3, "3.0"),
        (float("nan"), 3, "nan"),
    ],
)
def test_points_have_as_many_decimals_as_tell_them_from_their_limit(points: float, limit: float, shown: str) -> None:
    assert told_apart(points, limit) == shown
