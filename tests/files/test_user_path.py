"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prosafeprune.errors import InputError
from prosafeprune.files.user_path import user_path


def test_the_home_folder_is_filled_in() -> None:
    assert user_path("~/a") == Path.home() / "a"
    assert user_path(Path("a/~b")) == Path("a/~b")


def test_the_home_of_an_unknown_user_is_one_line() -> None:
    with pytest.raises(InputError, match=r"~nobody-of-that-name/a: there is no such home folder"):
        user_path("~nobody-of-that-name/a")


@pytest.mark.parametrize("path", ["a\0b", "\ud83d", "~/a\0b", b"a", 5, None, ["a"]])
def test_what_cannot_be_a_path_is_one_line(path: Any) -> None:
    with pytest.raises(InputError, match="is not a usable path") as caught:
        user_path(path)
    assert "\n" not in str(caught.value)


def test_a_file_name_that_is_no_text_is_a_path() -> None:
    assert user_path("a\udcff").name == "a\udcff"  # as Python reads the byte ff of a name
