"""Progress, remarks and tables for a person at a terminal. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from prosafeprune.progress import Advance, Status

LOG_SECONDS = 15
"""Where there is no terminal to redraw, a stage writes a line at its start, and then this often at most."""


class TerminalReporter:
    """Shows stages as bars on a terminal, as plain lines in a log, or not at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True)

    def __enter__(self) -> TerminalReporter:
        calm_libraries()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the output; nothing is kept open between stages."""

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Show a stage of ``total`` steps, and how it stands, while the context lasts."""
        if self.console.is_terminal and not self.quiet:
            with self._bars() as bars:
                task = bars.add_task(title, total=total, status="")
                yield lambda steps: bars.update(task, advance=steps, status=status() if status else "")
            return
        done, told = 0, time.monotonic()
        self.note(f"{title} ({total}) ...")

        def advance(steps: int) -> None:
            nonlocal done, told
            done += steps
            if done < total and time.monotonic() >= told + LOG_SECONDS:
                told = time.monotonic()
                self.note(f"{title}: {done} of {total}" + (f"  {status()}" if status else ""))

        yield advance

    def note(self, text: str) -> None:
        """Print a remark."""
        self.console.print(Text(text))

    def warning(self, text: str) -> None:
        """Print a warning."""
        self.console.print(Text(f"Warning: {text}", style="yellow"))

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self.console,
        )


def calm_libraries() -> None:
    """Keep the libraries' own bars and advice out of our output; their errors still come through."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Downloads take long and say so by themselves; only where a person looks on, though.
    if not sys.stderr.isatty():
        disable_progress_bars()
    logging.getLogger("torch").setLevel(logging.ERROR)


def error_line(text: str) -> None:
    """Print one line that says what was wrong."""
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("Error: ", "bold red"), text))


def print_table(table: RenderableType) -> None:
    """Print a result on stdout."""
    Console(width=terminal_width()).print(table)


def terminal_width() -> int:
    """Return the columns there are for tables; wide where nobody looks on."""
    console = Console()
    return console.width if console.is_terminal else 160
