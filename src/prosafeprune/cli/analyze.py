"""``prosafeprune analyze``: the inside of a model, as numbers and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.analysis.catalogue import CATALOGUE, CatalogueEntry, find_entries
from prosafeprune.cli.options import options_of
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.requests.validation import validate_settings

if TYPE_CHECKING:
    from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
    from prosafeprune.progress import Reporter

LISTING = "\n\n".join(
    [
        "Analyses:",
        *(f"{entry.name}: {entry.title} (paper: {entry.paper}; needs {entry.needed}).\n" for entry in CATALOGUE),
    ]
)
"""The list of analyses, for the end of --help."""


@options_of(AnalysisRequest, without=("model",))
def analyze(
    settings: dict[str, Any],
    names_and_model: Annotated[
        list[str], typer.Argument(metavar="[NAME]... MODEL", help="Analyses, then the model: folder, hub id or .gguf.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for numbers and figures. Default: analysis-NAME.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All analyses that the options allow, sharing what they collect.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete what is at --output first. By default, resume.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of tables.")] = False,
) -> None:
    """Analyse the inside of a model, before and after pruning: numbers (JSON, CSV) and figures (SVG, PNG).

    Finished analyses are kept: run the same command again to resume.
    """
    *names, model = names_and_model
    entries = find_entries(names, everything=everything)
    request = validate_settings(AnalysisRequest, {**settings, "model": model})
    folder = output or Path("analysis-" + re.sub(r"[^A-Za-z0-9.-]+", "-", Path(model).name).strip("-."))
    run(request, entries, folder, everything=everything, overwrite=overwrite, as_json=as_json)


def run(
    request: AnalysisRequest,
    entries: list[CatalogueEntry],
    output: Path,
    *,
    everything: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Analyse and print the results, also when an analysis failed."""
    from prosafeprune.jobs.analyze import FailedAnalysesError, run_analyze
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        try:
            finished = run_analyze(
                request, entries, output, everything=everything, overwrite=overwrite, reporter=reporter
            )
        except FailedAnalysesError as error:
            if error.finished:
                _show(error.finished, output, as_json, reporter)
            raise
        _show(finished, output, as_json, reporter)


def _show(finished: list[FinishedAnalysis], output: Path, as_json: bool, reporter: Reporter) -> None:
    from prosafeprune.analysis.terminal_table import summary_table, summary_text
    from prosafeprune.terminal import print_table

    if as_json:
        typer.echo(_as_json(finished))
    else:
        for one in finished:
            print_table(summary_table(one.entry, one.result))
            print_table(summary_text(one.result))
    reporter.note(f"Tables and figures are in {output}.")


def _as_json(finished: list[FinishedAnalysis]) -> str:
    import json

    results = {one.entry.name: one.result.model_dump(mode="json", by_alias=True) for one in finished}
    return json.dumps(results, indent=2)
