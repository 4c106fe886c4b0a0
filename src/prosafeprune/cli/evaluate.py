"""``prosafeprune evaluate``: how a model does on benchmarks, and why to believe it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import options_of
from prosafeprune.parallel.launch import require_one_process
from prosafeprune.requests.evaluate import EvaluationRequest
from prosafeprune.requests.validation import validate_settings


@options_of(EvaluationRequest)
def evaluate(
    settings: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for answers and results. Default: evaluation-NAME.", show_default=False
        ),
    ] = None,
    served_model: Annotated[
        str | None, typer.Option("--model", help="The model's name at --endpoint.", show_default=False)
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of an earlier evaluation to compare with.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what is at --output; otherwise it is gone on with.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Measure compliance, safety and general ability of a model.

    Answers are kept as they come: run the same command again to go on, or with another --judge to judge them anew.
    """
    if served_model is not None:
        settings["model"] = served_model
    request = validate_settings(EvaluationRequest, settings)
    if request.endpoint is not None:
        require_one_process("--endpoint")  # servers share the work by themselves
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(request.model).name or "endpoint").strip("-.")
    run(request, output or Path(f"evaluation-{name}"), against=against, overwrite=overwrite, as_json=as_json)


def run(request: EvaluationRequest, output: Path, *, against: Path | None, overwrite: bool, as_json: bool) -> None:
    """Evaluate and print what was found."""
    from prosafeprune.jobs.evaluate import run_evaluate
    from prosafeprune.report.evaluation_page import divergence_sentences, evaluation_grid
    from prosafeprune.report.rate_grids import ability_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json, print_text

    with TerminalReporter() as reporter:
        found = run_evaluate(request, output, against=against, overwrite=overwrite, reporter=reporter)
        if as_json:
            print_json(found.record.model_dump_json(indent=2))
        else:
            print_grid(evaluation_grid(found.record))
            if found.record.ability:
                print_grid(ability_grid(found.record.ability))
            print_text("\n".join(divergence_sentences(found.record)))
        reporter.note(f"Read {output / 'report.html'}; answers, verdicts and the record are beside it.")
