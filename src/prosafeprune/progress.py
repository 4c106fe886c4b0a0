"""Progress reporting, independent of the display: a terminal, a notebook, a log, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Call it with the number of steps done since the last call."""
Status = Callable[[], str]
"""Returns a few words on the state of the work."""


def ignore(steps: int) -> None:
    """Report nothing."""


class Reporter(Protocol):
    """Receives stages with a known number of steps, notes and warnings."""

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Announce a stage of ``total`` steps that ends with the context; ``status`` describes its state."""
        ...

    def note(self, text: str) -> None:
        """Report something worth knowing."""
        ...

    def warning(self, text: str) -> None:
        """Report something the user may want to act on."""
        ...


class SilentReporter:
    """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Announce nothing."""
        yield ignore

    def note(self, text: str) -> None:
        """Drop the note."""

    def warning(self, text: str) -> None:
        """Drop the warning."""
