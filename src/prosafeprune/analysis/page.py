"""What analyses found, as one page."""

from __future__ import annotations

from collections.abc import Sequence

from prosafeprune.analysis.catalogue import Entry
from prosafeprune.analysis.drawing import plot
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.analysis.result import Findings
from prosafeprune.analysis.result import Table as Numbers
from prosafeprune.analysis.terminal_table import cell_text
from prosafeprune.report.page import Block, Headline, Mark, Page, Paragraph, Picture, Section, Table
from prosafeprune.report.record import PromptsRecord, library_versions
from prosafeprune.report.repeating import command, depends_on


def analysis_page(
    request: AnalysisRequest,
    found: Sequence[tuple[Entry, Findings]],
    name: str,
    sha256: str,
    prompts: dict[str, PromptsRecord],
) -> Page:
    """Return the page of finished analyses.

    Args:
        request: what was asked for.
        found: the analyses with what they found.
        name: what the model is called.
        sha256: its hash.
        prompts: the prompts that were looked at.
    """
    against = f", before and after pruning ({request.against})" if request.against is not None else ""
    names = " ".join(entry.name for entry, _ in found)
    return Page(
        f"What goes on inside {name}",
        Headline(
            Mark.NEUTRAL,
            f"{len(found)} analyses",
            f"What goes on inside {name}{against}.",
            [f"{entry.title} ({entry.paper})." for entry, _ in found],
        ),
        [
            *(Section(entry.title, _blocks(entry, findings)) for entry, findings in found),
            Section(
                "Repeating it",
                [command(f"analyze {names}", request, "OUTPUT"), depends_on(sha256, prompts, library_versions())],
            ),
        ],
    )


def _blocks(entry: Entry, findings: Findings) -> list[Block]:
    pictures = [
        Picture(
            plot(figure, findings.table(figure.table)),
            f"{figure.title}. {figure.y_label} against {figure.x_label}.",
            f"Numbers: {entry.name}/{figure.table}.csv",
        )
        for figure in findings.figures
    ]
    return [Paragraph(f"In the paper: {entry.paper}."), _table(findings.tables[0]), *pictures]


def _table(numbers: Numbers) -> Table:
    headings = [name.replace("_", " ") for name in numbers.columns]
    return Table(numbers.title, headings, [[cell_text(cell) for cell in row] for row in numbers.rows])
