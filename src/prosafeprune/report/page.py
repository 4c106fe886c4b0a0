"""Pages to read in a browser: one HTML file each, with nothing to load, built from blocks of plain text.

How a room makes a page of its own::

    figure = new_figure()                       # from prosafeprune.plotting; any matplotlib Figure will do
    figure.subplots().plot(layers, overlaps)
    page = Page(
        title="Overlap of subspaces",
        headline=Headline(Mark.NEUTRAL, "Qwen2.5-7B-Instruct", "The overlap is least at rank 16.", ["More."]),
        sections=[
            Section("Overlap against rank", [
                Paragraph("What was done, in a sentence or two."),
                Picture(figure, "What the figure shows, for who cannot see it.", "Caption under the figure."),
                Table("Overlap by layer", ["layer", "overlap\\n95 % interval"], [["14", "0.31\\n0.28 to 0.34"]]),
            ]),
        ],
    )
    write_page(page, folder / REPORT_FILE)

Everything is text and is escaped on its way into the page, whoever wrote it; no block takes HTML. Equal pages are equal
to the byte. The page's policy forbids scripts and every request, so that nothing an answer says can do either.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from prosafeprune.files.staging import write_whole
from prosafeprune.plotting import UNPRINTABLE
from prosafeprune.report.svg import inline_svg

REPORT_FILE = "report.html"
NUMBER = re.compile(r"[(+\-−<± ]*\d")


class Mark(StrEnum):
    """How good the news is; the sign goes before words that say so too."""

    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"
    NEUTRAL = "neutral"

    @property
    def sign(self) -> str:
        """One character, told apart without colour."""
        return {"good": "✓", "caution": "!", "bad": "✗", "neutral": "•"}[self.value]


@dataclass(frozen=True)
class Headline:
    """What a reader in a hurry takes away."""

    mark: Mark
    label: str
    """A few words beside the mark."""
    text: str
    """The finding, in one sentence."""
    sentences: Sequence[str] = ()
    """What stands behind it, a line each."""


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list without order."""

    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    label: str
    """What they are, for who hears the page."""
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each being the row's name. Lines of a cell after its first are set smaller.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Lines under the table: what its words mean."""
    marked: Collection[int] = ()
    """Rows set in bold; say in their cells why."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.headings) for row in self.rows):
            raise ValueError(f"a row of '{self.caption}' has not {len(self.headings)} cells")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, which are set to the right."""
        columns = ([row[i] for row in self.rows if row[i] not in ("", "-")] for i in range(len(self.headings)))
        return [i > 0 and all(NUMBER.match(cell) for cell in column) for i, column in enumerate(columns)]


@dataclass(frozen=True)
class Picture:
    """A figure, drawn into the page."""

    figure: Figure
    description: str
    """What it shows, for who cannot see it."""
    caption: str


@dataclass(frozen=True)
class Answer:
    """What one model said to a prompt."""

    who: str
    verdict: str
    text: str


@dataclass(frozen=True)
class Exchange:
    """A prompt, and what each of the models said to it."""

    prompt: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Exchanges:
    """Answers side by side."""

    rows: Sequence[Exchange]


Block = Paragraph | Subheading | Points | Facts | Code | Table | Picture | Exchanges


@dataclass(frozen=True)
class Section:
    """A part of a page, named in its list of contents."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All that a page says."""

    title: str
    headline: Headline
    sections: Sequence[Section] = field(default_factory=tuple)


def write_page(page: Page, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_whole(path, render_page(page))


def render_page(page: Page) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=PackageLoader("prosafeprune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.globals["svg"] = lambda figure, place, told: inline_svg(figure, place, _printable(told))
    style = (resources.files("prosafeprune.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.jinja").render(
        page=page,
        style=Markup(style),  # ours, and without anything of the run
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        kind=lambda block: type(block).__name__.lower(),
        version=_version(),
    )


def _printable(value: Any) -> Any:
    """Show characters that have no place in HTML, or in UTF-8 at all, as what they are: unreadable."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return UNPRINTABLE.sub("\ufffd", value)
    return value


def _version() -> str:
    try:
        return version("prosafeprune")
    except PackageNotFoundError:
        return ""
