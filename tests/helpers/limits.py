"""Limits on time and memory, for readers of what may be anything."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_BYTES = 2 * 2**30
SECONDS, WAITING_SECONDS = 20, 60
"""Of the processor, which a loop would use; and by the clock, for a pipe that nobody writes to."""


@contextmanager
def limited() -> Iterator[None]:
    """Let the reader take some seconds and some memory, not more."""

    def too_long(*_: object) -> None:
        raise AssertionError("reads without end")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = [(number, signal.signal(number, too_long)) for number in (signal.SIGALRM, signal.SIGVTALRM)]
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    signal.alarm(WAITING_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before:
            signal.signal(number, handler)
