"""``prosafeprune analyze``: what goes on inside a model, as numbers and figures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.analysis.catalogue import CATALOGUE, Entry, find_entries
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
"""What there is, for the end of --help."""


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
        bool, typer.Option("--all", help="All that the options allow, sharing what they collect.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what is at --output; otherwise it is gone on with.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON instead of tables.")] = False,
) -> None:
    """Show what goes on inside a model, before and after pruning: numbers (JSON, CSV), figures (SVG, PNG).

    Finished analyses are kept: run the same command again to go on.
    """
    *names, model = names_and_model
    entries = find_entries(names, everything=everything)
    request = validate_settings(AnalysisRequest, {**settings, "model": model})
    place = output or Path("analysis-" + re.sub(r"[^A-Za-z0-9.-]+", "-", Path(model).name).strip("-."))
    run(request, entries, place, everything=everything, overwrite=overwrite, as_json=as_json)


def run(
    request: AnalysisRequest, entries: list[Entry], output: Path, *, everything: bool, overwrite: bool, as_json: bool
) -> None:
    """Analyse and print what was found, even where an analysis failed."""
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
    from prosafeprune.analysis.terminal_table import first_table, told_text
    from prosafeprune.terminal import print_table

    if as_json:
        typer.echo(_as_json(finished))
    else:
        for one in finished:
            print_table(first_table(one.entry, one.findings))
            print_table(told_text(one.findings))
    reporter.note(f"Tables and figures are in {output}.")


def _as_json(finished: list[FinishedAnalysis]) -> str:
    import json

    return json.dumps({one.entry.name: one.findings.model_dump(mode="json") for one in finished}, indent=2)
