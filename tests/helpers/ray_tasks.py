"""Tasks for workers on a Ray cluster, which import this module: nothing here imports torch, which takes seconds."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.errors import InputError


@dataclass(frozen=True)
class Begin:
    """Makes a worker's state, and counts how often."""

    folder: Path

    def __call__(self) -> Path:
        with (self.folder / "begun").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        return self.folder


@dataclass(frozen=True)
class Square:
    number: int
    kills: bool = False
    """Whether the first worker that does it is killed by it."""

    def __call__(self, state: Path) -> int:
        if self.kills and not (state / f"killed-{self.number}").exists():
            (state / f"killed-{self.number}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.number**2


@dataclass(frozen=True)
class Deadly:
    def __call__(self, state: Path) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Unusable:
    def __call__(self, state: Path) -> None:
        raise InputError("No such prompt.")
