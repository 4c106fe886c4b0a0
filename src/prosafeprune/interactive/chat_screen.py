"""A chat on a terminal: one answer as plain text, two as columns. All text passes ``for_terminal``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prosafeprune.interactive.chat import Side
from prosafeprune.terminal import print_text
from prosafeprune.text import for_terminal

UPDATES_PER_SECOND = 8


class TerminalScreen:
    """Shows a chat on stdout; without a terminal, two answers follow each other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._titles: dict[Side, str] = {}
        self._texts: dict[Side, str] = {}
        self._live: Live | None = None

    def note(self, text: str) -> None:
        """Print a remark."""
        print_text(text)

    def begin(self, sides: Mapping[Side, str]) -> None:
        """Begin answers of these sides, with their titles."""
        self._titles = dict(sides)
        self._texts = dict.fromkeys(sides, "")
        if len(sides) > 1 and self.console.is_terminal:
            self._live = Live(
                console=self.console,
                transient=True,
                refresh_per_second=UPDATES_PER_SECOND,
                get_renderable=self._columns,
            )
            self._live.start()

    def add(self, side: Side, text: str) -> None:
        """Show more of a side's answer."""
        self._texts[side] += text
        if len(self._titles) == 1:
            sys.stdout.write(for_terminal(text))
            sys.stdout.flush()

    def end(self) -> None:
        """End the answers."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self.console.print(self._columns())
        elif len(self._titles) > 1:
            for side, title in self._titles.items():
                print_text(f"[{title}]\n{self._texts[side]}")
        else:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _columns(self) -> Table:
        table = Table(expand=True, box=None, padding=(0, 2, 0, 0))
        for title in self._titles.values():
            table.add_column(Text(for_terminal(title)), ratio=1, overflow="fold")
        table.add_row(*(Text(for_terminal(text)) for text in self._texts.values()))
        return table
