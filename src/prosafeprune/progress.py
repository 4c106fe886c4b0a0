"""Progress reporting, independent of the display: a terminal, a notebook, a log, or none."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

Advance = Callable[[float], None]
"""Call it with the number of steps done since the last call; parts of steps count."""
Status = Callable[[], str]
"""Returns a few words on the state of the work."""


def ignore(steps: float) -> None:
    """Report nothing."""


class PartialAnswers:
    """The progress of answers, which are generated in batches, by tokens: a bar moves while a batch runs."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.shown = 0.0
        self.finished = 0
        self.rows, self.share = 0, 0.0

    def tokens(self, rows: int, share: float) -> None:
        """Report that this many answers of the batch are unfinished, each with this share of its tokens done."""
        self.rows, self.share = rows, share
        self._show()

    def finish(self) -> None:
        """Report one more finished answer."""
        self.finished += 1
        self.rows = max(0, self.rows - 1)
        self._show()

    def _show(self) -> None:
        now = self.finished + self.rows * self.share
        self.advance(now - self.shown)
        self.shown = now


_partial: ContextVar[PartialAnswers | None] = ContextVar("partial", default=None)


@contextmanager
def partial_answers(advance: Advance) -> Iterator[PartialAnswers]:
    """Let decoders inside the context report tokens to ``advance``, as parts of answers."""
    shown = PartialAnswers(advance)
    token = _partial.set(shown)
    try:
        yield shown
    finally:
        _partial.reset(token)


def report_tokens(rows: int, share: float) -> None:
    """Report, from a decoder, how many answers of its batch are unfinished, and the share of their tokens done."""
    shown = _partial.get()
    if shown is not None:
        shown.tokens(rows, share)


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


class TimedReporter:
    """Passes everything on to another reporter, and keeps how long each stage took."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        """By title; stages with the same title are added."""

    @property
    def total(self) -> float:
        """Seconds since this reporter was made."""
        return time.monotonic() - self.started

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Announce a stage, and add its time when the context ends."""
        started = time.monotonic()
        try:
            with self.reporter.stage(title, total, status) as advance:
                yield advance
        finally:
            self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - started

    def note(self, text: str) -> None:
        """Pass the note on."""
        self.reporter.note(text)

    def warning(self, text: str) -> None:
        """Pass the warning on."""
        self.reporter.warning(text)


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


SILENT = SilentReporter()
