"""Commands run in forked children: the libraries are imported once, and a child may be killed at any moment."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300.0
"""A command on a tiny model that takes longer hangs."""
MEMORY_BYTES = 6 * 2**30
"""Address space of a child beyond the parent's own: a command that needs more fills the memory."""
Setup = Callable[[], None]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    arguments: tuple[str, ...]
    code: int
    """Exit code; a signal's number, negative, if it was killed."""
    out: str
    err: str
    hung: bool = False
    cpu_seconds: float = 0.0

    @property
    def traceback(self) -> bool:
        """Whether it ended by an error nobody expected."""
        return self.code == 70 or "Traceback (most recent call last)" in self.err

    @property
    def one_line(self) -> bool:
        """Whether what it printed last on stderr is one line that says what was wrong."""
        errors = [line for line in self.err.split("\n") if line.startswith("Error: ")]
        if not errors and self.code == 2:  # an option that is not one: Typer shows how the command is used
            return self.err.startswith("Usage: ")
        return len(errors) == 1 and self.err.rstrip("\n").split("\n")[-1] == errors[0]


class Child:
    """A command that runs beside others, in a separate process."""

    def __init__(self, arguments: Sequence[object], setup: Setup | None = None, cache: Path | None = None) -> None:
        self.arguments = tuple(map(str, arguments))
        pipes = [os.pipe(), os.pipe()]  # no files: a limit on the size of files would end what is printed, too
        self._printed = {reading: bytearray() for reading, _ in pipes}
        sys.stdout.flush()
        sys.stderr.flush()
        self.process = os.fork()
        if self.process == 0:
            _become(self.arguments, [writing for _, writing in pipes], setup, cache)
        for reading, writing in pipes:
            os.close(writing)
            os.set_blocking(reading, False)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(self.process, number)

    def wait(self, seconds: float = SECONDS) -> Ended:
        """Wait for its end; kill it when it takes longer."""
        deadline, hung = time.monotonic() + seconds, False
        while True:
            self._read()
            found, status, used = os.wait4(self.process, os.WNOHANG)
            if found:
                break
            if time.monotonic() > deadline and not hung:
                hung = True
                os.killpg(self.process, signal.SIGKILL)
        self._read()
        out, err = (printed.decode("utf-8", "surrogateescape") for printed in self._printed.values())
        for pipe in self._printed:
            os.close(pipe)
        code = os.waitstatus_to_exitcode(status)
        return Ended(self.arguments, code, out, err, hung, used.ru_utime + used.ru_stime)

    def _read(self) -> None:
        select.select(list(self._printed), [], [], 0.02)
        for pipe, printed in self._printed.items():
            with suppress(BlockingIOError):
                while piece := os.read(pipe, 2**16):
                    printed.extend(piece)


def run(
    arguments: Sequence[object], setup: Setup | None = None, seconds: float = SECONDS, cache: Path | None = None
) -> Ended:
    """Run a command in a child and return how it ended.

    Args:
        arguments: the command.
        setup: called in the child first.
        seconds: after which it hangs.
        cache: its cache folder; by default, one that every child shares.
    """
    return Child(arguments, setup, cache).wait(seconds)


def run_here(arguments: Sequence[object], folder: Path) -> int:
    """Run a command in this process, so that children find imported what it needs; return its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.argv = ["prosafeprune", *map(str, arguments)]
    with (folder / "here").open("w") as log, redirect_stdout(log), redirect_stderr(log):
        return _call()


def _become(arguments: Sequence[str], pipes: Sequence[int], setup: Setup | None, cache: Path | None) -> None:
    """Be the command, from a fork to its end."""
    code = 99
    try:
        os.setsid()
        for number, pipe in enumerate(pipes, 1):
            os.dup2(pipe, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        sys.argv = ["prosafeprune", *arguments]
        if cache is not None:
            os.environ["PROSAFEPRUNE_CACHE"] = str(cache)
        if setup is not None:
            setup()
        code = _call()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _call() -> int:
    import traceback

    from prosafeprune import cli
    from prosafeprune.model import template_process

    try:
        cli.main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(ended.code)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - what the interpreter would print
        traceback.print_exc()
        return 1
    finally:
        template_process.shared.stop()
    return 0
