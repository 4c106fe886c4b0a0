"""Files on the web: limited in size and time, and no secret of an address is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prosafeprune.errors import InputError
from prosafeprune.prompts import read_prompts, sources

ADDRESS = "https://example.org/sets/a.csv"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bytes]:
    """What the server sends, part by part."""
    pieces: list[bytes] = []

    @contextmanager
    def stream(*_: Any, **__: Any) -> Iterator[Any]:
        yield SimpleNamespace(raise_for_status=lambda: None, iter_bytes=lambda: iter(pieces))

    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(sources, "get_session", lambda: SimpleNamespace(stream=stream))
    return pieces


def test_a_file_is_downloaded_once(served: list[bytes], tmp_path: Path) -> None:
    served += [b"prompt\nTell", b" me of bees\n"]
    assert read_prompts(ADDRESS, "benign").texts == ["Tell me of bees"]
    served.clear()
    assert read_prompts(ADDRESS, "benign").texts == ["Tell me of bees"]
    assert len(list((tmp_path / "prompts").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "limit", "words"), [("MAX_TEXT_BYTES", 10, "larger than"), ("ALL_SECONDS", -1, "longer")]
)
def test_an_endless_file_is_given_up(
    name: str, limit: int, words: str, served: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served += [b"prompt\n"] * 5
    monkeypatch.setattr(sources, name, limit)
    with pytest.raises(InputError, match=words):
        read_prompts(ADDRESS, "benign")
    assert not (tmp_path / "prompts").exists()


@pytest.mark.parametrize("secret", ["https://me:pa55@example.org/a.csv", "https://example.org/a.csv?key=pa55"])
def test_an_address_with_a_secret_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(InputError, match="may be secret") as caught:
        read_prompts(secret, "benign")
    assert "pa55" not in str(caught.value)
