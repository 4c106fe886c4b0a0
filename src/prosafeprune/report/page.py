"""Report pages: one self-contained HTML file each, built from blocks of plain text.

How to make a page::

    figure = new_figure()                       # from prosafeprune.plotting; any matplotlib Figure works
    figure.subplots().plot(layers, overlaps)
    page = Page(
        title="Overlap of subspaces",
        headline=Headline(Mark.NEUTRAL, "Qwen2.5-7B-Instruct", "The overlap is smallest at rank 16.", ["More."]),
        sections=[
            Section("Overlap by rank", [
                Paragraph("What was done, in a sentence or two."),
                Picture(figure, "What the figure shows, for readers who cannot see it.", "Caption under the figure."),
                Grid("Overlap by layer", ["layer", "overlap\\n95 % interval"], [["14", "0.31\\n0.28 to 0.34"]]),
            ]),
        ],
    )
    write_page(page, folder / REPORT_FILE)

All text is escaped; no block takes HTML. Equal pages are equal to the byte. The page's content security policy forbids
scripts and requests, so text written by a model can trigger neither.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from prosafeprune.files.output_names import REPORT_FILE as REPORT_FILE
from prosafeprune.files.staging import write_whole
from prosafeprune.files.versions import installed_version
from prosafeprune.plotting import svg_data_uri
from prosafeprune.report.grid import DRAFT, Grid, as_draft
from prosafeprune.text import printable

BEGINNING = re.compile(
    rb'\s*<!DOCTYPE html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">\s*'
    rb'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    rb"style-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'\">"
)
"""Beginning of every page: nothing is loaded, and no script runs."""
MOST_OPEN = 8
"""Number of facts shown without unfolding."""


class Mark(StrEnum):
    """How good a finding is. Its sign is shown before words that say the same."""

    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"
    NEUTRAL = "neutral"

    @property
    def sign(self) -> str:
        """One character, distinct without colour."""
        return {"good": "✓", "caution": "!", "bad": "✗", "neutral": "•"}[self.value]


@dataclass(frozen=True)
class Headline:
    """The summary at the top of a page."""

    mark: Mark
    label: str
    """A few words next to the mark."""
    text: str
    """The finding, in one sentence."""
    sentences: Sequence[str] = ()
    """The evidence, one item each."""


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
    """A bulleted list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names with their values; many are folded."""

    pairs: Sequence[tuple[str, str]]

    @property
    def is_long(self) -> bool:
        """Whether they are folded."""
        return len(self.pairs) > MOST_OPEN


@dataclass(frozen=True)
class Code:
    """Code or a command to copy."""

    label: str
    """What it is, for screen readers."""
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure, embedded as an SVG image."""

    figure: Figure
    description: str
    """Its alternative text."""
    caption: str


@dataclass(frozen=True)
class ExampleAnswer:
    """One model's answer to a prompt, with the judge's verdict."""

    model: str
    verdict: str
    text: str


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt with the answer of each model."""

    prompt: str
    answers: Sequence[ExampleAnswer]


@dataclass(frozen=True)
class Examples:
    """Prompts with answers, side by side."""

    rows: Sequence[AnsweredPrompt]


Block = Paragraph | Subheading | Points | Facts | Code | Grid | Picture | Examples


@dataclass(frozen=True)
class Section:
    """A part of a page, listed in its table of contents."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """The content of a page."""

    title: str
    headline: Headline
    sections: Sequence[Section] = field(default_factory=tuple)


def as_draft_page(page: Page, is_draft: bool) -> Page:
    """Return a page with a notice at the top if it is a draft."""
    if not is_draft:
        return page
    found = page.headline
    headline = Headline(Mark.CAUTION, f"{DRAFT}.", found.text, [found.label, *found.sentences])
    return replace(page, title=as_draft(page.title, is_draft), headline=headline)


def write_page(page: Page, path: Path) -> None:
    """Write a page, completely or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, render_page(page))


def is_own_page(file: Path) -> bool:
    """Return whether a page begins as those of this package do, whose content policy no later part of it can undo."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return BEGINNING.match(stream.read(1000)) is not None


def render_page(page: Page) -> str:
    """Return a page as HTML."""
    style = (resources.files("prosafeprune.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return _template().render(
        page=page,
        style=Markup(style),  # part of the package: nothing of the run is in it
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        kind=lambda block: type(block).__name__.lower(),
        data_uri=svg_data_uri,
        version=installed_version("prosafeprune") or "",
    )


@cache  # compiling takes several times as long as rendering
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("prosafeprune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    return environment.get_template("page.html.jinja")


def _printable(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
