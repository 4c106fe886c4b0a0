"""``--dry-run``: the tables of what a command would do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prosafeprune.errors import InputError

if TYPE_CHECKING:
    from prosafeprune.progress import Reporter
    from prosafeprune.report.grid import Grid


def refuse_json(as_json: bool) -> None:
    """Raise InputError when a dry run, which has no record, is asked for one."""
    if as_json:
        raise InputError("--dry-run: prints tables. Leave out --json.")


def print_tables(outlook: Callable[[Reporter], Iterable[Grid]]) -> None:
    """Print the tables that ``outlook`` returns. Raises InputError as it does."""
    from prosafeprune.terminal import TerminalReporter, print_grid

    with TerminalReporter() as reporter:
        for grid in outlook(reporter):
            print_grid(grid)
