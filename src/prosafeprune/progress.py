"""How long work tells of itself without knowing who listens: a terminal, a notebook, a log, or nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Call it with the number of steps done since the last call."""


class Reporter(Protocol):
    """Receives stages with a known number of steps, remarks and warnings."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Announce a stage of ``total`` steps; the stage ends with the context."""
        ...

    def note(self, text: str) -> None:
        """Tell something worth knowing."""
        ...

    def warning(self, text: str) -> None:
        """Tell something the user may want to act on."""
        ...


class SilentReporter:
    """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Announce nothing."""
        yield lambda steps: None

    def note(self, text: str) -> None:
        """Drop the remark."""

    def warning(self, text: str) -> None:
        """Drop the warning."""
