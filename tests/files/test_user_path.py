"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.files.user_path import user_path


def test_the_home_folder_is_filled_in() -> None:
    assert user_path("~/a") == Path.home() / "a"
    assert user_path(Path("a/~b")) == Path("a/~b")


def test_the_home_of_an_unknown_user_is_one_line() -> None:
    with pytest.raises(InputError, match=r"~nobody-of-that-name/a: there is no such home folder"):
        user_path("~nobody-of-that-name/a")
