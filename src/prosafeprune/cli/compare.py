"""``prosafeprune compare``: better than what? Several ways of answering, on the same prompts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import RayAddress, options_of
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.recipe import make_request


@options_of(CompareRequest, without=("format", "memory", "unmeasured"))
def compare(
    settings: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for answers and results. Default: comparison-NAME.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="YAML file of these settings; options go before it.", show_default=False),
    ] = None,
    ray: RayAddress = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away what is at --output; otherwise it is gone on with.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")] = False,
) -> None:
    """Measure a model as it is, under published ways to lessen over-refusal, and pruned: a table like Table 1.

    Without --layers, --search or --pruned, a plan is searched for first. Answers are kept as they come: run the same
    command again to go on, or with further methods.
    """
    request = make_request(CompareRequest, recipe, settings)
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(request.model).name).strip("-.")
    run(request, output or Path(f"comparison-{name}"), overwrite=overwrite, as_json=as_json, ray=ray)


def run(request: CompareRequest, output: Path, *, overwrite: bool, as_json: bool, ray: str | None = None) -> None:
    """Compare, and print what was found."""
    from prosafeprune.jobs.compare import run_compare
    from prosafeprune.report.comparison_grids import comparison_grids
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    with TerminalReporter() as reporter:
        found = run_compare(request, output, overwrite=overwrite, ray=ray, reporter=reporter)
        if as_json:
            print_json(found.record.model_dump_json(indent=2))
        else:
            for grid in comparison_grids(found.record):
                print_grid(grid)
        reporter.note(f"Answers, verdicts, the table and the record are in {output}.")
