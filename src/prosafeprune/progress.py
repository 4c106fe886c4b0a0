"""Progress reporting, independent of the display: a terminal, a notebook, a log, or none."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from prosafeprune.text import duration

Advance = Callable[[float], None]
"""Call it with the number of steps done since the last call; parts of steps count."""
LEAST_DONE = 0.05
"""Share of a stage from which the time left is estimated: the first batch has prompts to process and memory to find."""
LEAST_LEFT = 60.0
"""Seconds from which the time left after a stage is reported."""
Status = Callable[[], str]
"""Returns a few words on the state of the work."""


class EarlierSteps(float):
    """Steps that are done already, by an earlier run: an ``Advance`` that estimates the time left excludes them."""


class Pace:
    """The steps of a stage that are done, and the time that the rest takes at the speed of this run."""

    def __init__(self, total: float) -> None:
        self.total, self.done, self.earlier = total, 0.0, 0.0
        self.started = time.monotonic()

    def add(self, steps: float) -> None:
        """Count steps, as an ``Advance`` gets them."""
        self.done += steps
        if isinstance(steps, EarlierSteps):
            self.earlier += steps

    def seconds_left(self) -> float | None:
        """Return the seconds left at the mean speed so far: steadier than that of the last seconds.

        None while too little is done to say, and at the end.
        """
        done, total = self.done - self.earlier, self.total - self.earlier
        if not LEAST_DONE * total < done < total:
            return None
        return (time.monotonic() - self.started) * (total - done) / done


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

    def known(self, answers: int) -> None:
        """Report answers that an earlier run finished."""
        if not answers:
            return
        self.finished += answers
        self.shown += answers
        self.advance(EarlierSteps(answers))

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
        """Seconds by title; stages with the same title are added."""
        self._expected: dict[str, float] = {}
        self._expected_steps: dict[str, int] = {}

    @property
    def total(self) -> float:
        """Seconds since this reporter was made."""
        return time.monotonic() - self.started

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Announce a stage, and add its time when the context ends; after an expected one, report the time left."""
        started = time.monotonic()
        try:
            with self.reporter.stage(title, total, status) as advance:
                yield advance
        finally:
            taken = time.monotonic() - started
            self.seconds[title] = self.seconds.get(title, 0.0) + taken
        if self._expected.get(title.lower()) and total:
            self._note_time_left(title.lower(), taken * self._expected_steps[title.lower()] / total)

    def expect(self, stages: Mapping[str, float], steps: Mapping[str, int]) -> None:
        """Report the time left after each of these stages.

        Args:
            stages: estimated seconds by title in lower case, in order.
            steps: by the same titles; fewer are taken when some are known from an earlier run.
        """
        self._expected, self._expected_steps = dict(stages), dict(steps)

    def _note_time_left(self, finished: str, taken: float) -> None:
        """Scale the estimates of what follows by how long this stage took, compared with its own estimate."""
        names = list(self._expected)
        following = sum(self._expected[name] for name in names[names.index(finished) + 1 :])
        left = following * taken / self._expected[finished]
        if left >= LEAST_LEFT:
            self.note(f"About {duration(left)} left in all.")

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
