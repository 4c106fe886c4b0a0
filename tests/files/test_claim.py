"""One run at a time per output, and no lock file left beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed


def test_an_output_is_claimed_by_one_run_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path / "out"):
        with pytest.raises(InputError, match="another run is writing there"), claimed(tmp_path / "out"):
            pass
        with claimed(tmp_path / "other"):
            pass
    with claimed(tmp_path / "out"):
        pass


def test_the_lock_file_is_gone_when_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed(tmp_path / "out"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_the_lock_file_of_a_killed_run_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").write_text("")
    with claimed(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_file_removed_while_it_was_opened_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that held it removes it between our opening and locking it: our lock would exclude no one."""
    import fcntl

    lock, flock, calls = tmp_path / ".out.lock", fcntl.flock, []

    def flock_late(descriptor: int, operation: int) -> None:
        if not calls:
            lock.unlink()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with claimed(tmp_path / "out"):
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(calls[1]), lock.stat())


def test_a_parent_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"), claimed(tmp_path / "file" / "out"):
        pass
