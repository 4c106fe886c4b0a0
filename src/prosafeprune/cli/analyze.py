"""``prosafeprune analyze``: the inside of a model, as numbers and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prosafeprune.analysis.catalogue import CATALOGUE, CatalogueEntry, find_entries
from prosafeprune.cli.options import DiscardEarlier, options_of, output_option
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.text import slug

if TYPE_CHECKING:
    from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
    from prosafeprune.progress import Reporter

LISTING = "\n\n".join(
    [
        "Analyses:",
        *(f"{entry.name}: {entry.title} (paper: {entry.paper}; needs {entry.needed})." for entry in CATALOGUE),
    ]
)
"""The list of analyses, for the end of --help."""


@options_of(
    AnalyzeRequest,
    without=("model",),
    defaults={"pooling": "sequence; for the plan of --against, as that model was pruned"},
)
def analyze(
    settings: dict[str, Any],
    names_and_model: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME]... MODEL",
            help="Analyses, then the model: folder, hub id, .gguf or adapter.",
            autocompletion=lambda incomplete: [entry.name for entry in CATALOGUE if entry.name.startswith(incomplete)],
        ),
    ],
    output: Annotated[Path | None, output_option("Folder for numbers and figures. Default: analysis-NAME.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All analyses that the options allow, sharing what they collect.")
    ] = False,
    overwrite: DiscardEarlier = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of tables.")] = False,
) -> None:
    """Analyse the inside of a model, before and after pruning: numbers (JSON, CSV) and figures (SVG, PNG).

    Finished analyses are saved. Run the same command again to resume.
    """
    *names, model = names_and_model
    entries = find_entries(names, everything=everything)
    request = validate_settings(AnalyzeRequest, {**settings, "model": model})
    folder = output or Path(f"analysis-{slug(model)}")
    run(request, entries, folder, everything=everything, overwrite=overwrite, as_json=as_json)


def run(
    request: AnalyzeRequest,
    entries: list[CatalogueEntry],
    output: Path,
    *,
    everything: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Analyse and print the results, also when an analysis failed."""
    from prosafeprune.setup.prepare import check_model_early

    check_model_early(request, request.layers)  # before torch is imported
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
    from prosafeprune.report.page import REPORT_FILE
    from prosafeprune.terminal import print_grid, print_json, print_text

    if as_json:
        print_json(_as_json(finished))
    else:
        for analysis in finished:
            for grid in analysis.grids():
                print_grid(grid)
            print_text("".join(f"{sentence}\n" for sentence in analysis.result.summary))
    reporter.note(f"Report: {output / REPORT_FILE}. Tables and figures are in the same folder.")


def _as_json(finished: list[FinishedAnalysis]) -> str:
    import json

    results = {analysis.entry.name: analysis.result.model_dump(mode="json", by_alias=True) for analysis in finished}
    return json.dumps(results, indent=2)
