"""Terminal output: progress and messages on stderr, results on stdout.

Everything shown passes ``for_terminal``, since answers, server errors and file names may contain escape sequences.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from html import escape
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from prosafeprune.progress import Pace
from prosafeprune.text import duration, for_terminal, json_for_terminal

if TYPE_CHECKING:
    from prosafeprune.progress import Advance, Status
    from prosafeprune.report.grid import Grid

BAR_WIDTH = 12
"""Of a progress bar, in characters: with the longest title, counts and times fit into 80 columns."""
LOG_SECONDS = 15
"""Without a terminal, a stage prints a line at its start and then at most this often."""
NOTEBOOK_SECONDS = 0.5
"""A bar in a notebook is drawn anew at most this often."""
LONGEST_ERROR = 4000
"""Characters of an error; a name or value in it may be someone else's, and of any length."""
ROUNDING = 1e-6
"""Rounding error of a sum of parts of steps."""
WIDTH_OF_FILES = 160
"""Columns of tables if stdout is not a terminal."""


CALMED_LOGGERS = ("torch", "bitsandbytes")
"""Loggers of which only errors are shown."""


class SteadyConsole(Console):
    """A console that tolerates a closed pipe (``| head``): further output is dropped, and the command ends normally."""

    def on_broken_pipe(self) -> None:
        """Write to the null device from now on."""
        drop_output(self.file)


def drop_output(stream: IO[str]) -> None:
    """Let a stream, whose reader has gone, write to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class TerminalReporter:
    """Shows stages as progress bars on a terminal, as plain lines in a log, or not at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = SteadyConsole(stderr=True, quiet=quiet, soft_wrap=True)

        self._calm = ExitStack()

    def __enter__(self) -> TerminalReporter:
        self._calm.enter_context(quiet_libraries())
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the libraries' settings."""
        self._calm.close()

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        """Show a stage of ``total`` steps, with its status, inside the context."""
        title = for_terminal(title)
        if not self.quiet and in_notebook():
            with notebook_bar(title, total, status) as bar:
                yield bar
            return
        if self.console.is_terminal and not self.quiet:
            with self._bars() as bars:
                yield _bar(bars, title, total, status)
            return
        pace = Pace(total)
        printed = pace.started
        self.note(f"{title} ({total}) ...")

        def advance(steps: float) -> None:
            nonlocal printed
            pace.add(steps)
            now = time.monotonic()
            if 0 < pace.done < total and now >= printed + LOG_SECONDS:
                printed = now
                left = _time_left(pace)
                about = f", about {left}" if left else ""
                state = f"  {status()}" if status else ""
                self.note(f"{title}: {int(pace.done + ROUNDING)} of {total}{about}{state}".rstrip())

        yield advance

    def note(self, text: str) -> None:
        """Print a remark."""
        self.console.print(Text(for_terminal(text)))

    def warning(self, text: str) -> None:
        """Print a warning."""
        self.console.print(Text(for_terminal(f"Warning: {text}"), style="yellow"))

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH),
            *(column(table_column=Column(no_wrap=True)) for column in (_StepsDone, TimeElapsedColumn, _TimeLeft)),
            _CutStatus(),
            console=self.console,
        )


def _bar(bars: Progress, title: str, total: int, status: Status | None) -> Advance:
    """Add a bar, and return what moves it."""
    pace = Pace(total)
    task = bars.add_task(title, total=total, status="", pace=pace)

    def advance(steps: float) -> None:
        pace.add(steps)
        bars.update(task, advance=steps, status=for_terminal(status()) if status else "")

    return advance


class _StepsDone(ProgressColumn):
    """The steps done, of all; parts of steps count only once they make a whole one."""

    def render(self, task: Task) -> Text:
        """Return both numbers."""
        return Text(f"{int(task.completed + ROUNDING)}/{int(task.total or 0)}")


class _CutStatus(ProgressColumn):
    """The status of a stage, cut short where the terminal is narrow: it is the only column that may shrink."""

    def render(self, task: Task) -> Text:
        """Return the status on one line."""
        return Text(task.fields["status"], no_wrap=True, overflow="ellipsis")


class _TimeLeft(ProgressColumn):
    """The time left at the mean speed of this run, which rich's own column does not show."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        """Return the time left, or nothing while it cannot be estimated."""
        return Text("" if task.finished else _time_left(task.fields["pace"]))


def _time_left(pace: Pace) -> str:
    """Return the time left in words; nothing while it cannot be estimated."""
    left = pace.seconds_left()
    return "" if left is None else f"{duration(left)} left"


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def notebook_bar(title: str, total: int, status: Status | None) -> Iterator[Advance]:
    """Show a stage as a bar below the cell of a notebook, inside the context."""
    notebook: Any = import_module("IPython.display")  # there in every notebook, and without type hints
    pace, shown = Pace(total), 0.0

    def bar() -> Any:
        words = [f"{int(pace.done + ROUNDING)}/{total}", _time_left(pace), status() if status else ""]
        text = escape("  ".join(word for word in (title, *words) if word))
        return notebook.HTML(f'<progress max="{total}" value="{pace.done:.3f}"></progress> {text}')

    cell = notebook.display(bar(), display_id=True)

    def advance(steps: float) -> None:
        nonlocal shown
        pace.add(steps)
        if time.monotonic() >= shown + NOTEBOOK_SECONDS or pace.done >= total - ROUNDING:
            shown = time.monotonic()
            cell.update(bar())

    yield advance


def calm_libraries() -> None:
    """Silence the libraries' progress bars and advice; their errors still come through."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from huggingface_hub.utils.tqdm import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Downloads take long, so their bars stay where somebody sees them.
    if not sys.stderr.isatty():
        disable_progress_bars()
    for name in CALMED_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the libraries inside the context, as :func:`calm_libraries` does, and restore their settings after it."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in CALMED_LOGGERS}
    verbosity, has_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    has_downloads = not are_progress_bars_disabled()
    with warnings.catch_warnings():
        calm_libraries()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if has_bar:
                transformers_logging.enable_progress_bar()
            if has_downloads:
                enable_progress_bars()
            for logger, level in loggers.items():
                logger.setLevel(level)


def error_line(text: str) -> None:
    """Print an error as one line on stderr."""
    line = " ".join(for_terminal(text[:LONGEST_ERROR]).split("\n"))
    SteadyConsole(stderr=True, soft_wrap=True).print(Text.assemble(("Error: ", "bold red"), line))


def print_grid(grid: Grid) -> None:
    """Print a table on stdout."""
    console = SteadyConsole()
    width = console.width if console.is_terminal else WIDTH_OF_FILES
    SteadyConsole(width=width).print(grid.terminal(width))


def print_result(json_text: str, grids: Iterable[Grid], *, as_json: bool) -> None:
    """Print a result on stdout, as JSON or as tables."""
    if as_json:
        print_json(json_text)
    else:
        for grid in grids:
            print_grid(grid)


def print_text(text: str) -> None:
    """Print lines of text on stdout; nothing for an empty text."""
    if text:
        SteadyConsole(soft_wrap=True).print(Text(for_terminal(text)))


def print_json(text: str) -> None:
    """Print JSON on stdout."""
    shown = json_for_terminal(text)
    try:
        shown.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        shown = json.dumps(json.loads(text), indent=2)  # with escapes
    try:
        sys.stdout.write(shown + "\n")
        sys.stdout.flush()  # at the end of Python, an error would change the exit code
    except BrokenPipeError:
        drop_output(sys.stdout)
