"""Fixtures that many tests take: a tiny checkpoint's folder, and a command that is run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import prosafeprune.cli

Make = Callable[..., Path]
"""Gives the folder of a tiny checkpoint."""


class Run:
    """Runs a command in this process; gives its exit code, stdout and stderr."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["prosafeprune", *map(str, arguments)])
        self.capsys.readouterr()  # what making its inputs printed is not the command's
        with pytest.raises(SystemExit) as ended:
            prosafeprune.cli.main()
            raise SystemExit(0)
        captured = self.capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    def ok(self, *arguments: object) -> tuple[str, str]:
        """Run a command that must succeed; give stdout and stderr."""
        code, out, err = self(*arguments)
        assert code == 0, err
        return out, err

    def refused(self, words: str, *arguments: object) -> str:
        """Run a command that must end with exit code 2 and one error with these words; give stderr."""
        code, _, err = self(*arguments)
        assert (code, words in " ".join(err.split())) == (2, True), err
        assert "Traceback" not in err
        return err
