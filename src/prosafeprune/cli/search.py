"""``prosafeprune search``: find layers and strength, and stop before a model is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import RayAddress, options_of
from prosafeprune.requests.recipe import Recipe, make_recipe

NOT_SEARCHED_WITH = (
    "layers",
    "strength",
    "format",
    "suite",
    "benchmark",
    "data_dir",
    "benchmark_samples",
    "memory",
    "unmeasured",
)
"""A search finds the plan and sees validation prompts alone."""


@options_of(Recipe, without=NOT_SEARCHED_WITH)
def search(
    settings: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the search, to go on with. Default: search-NAME.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="YAML file of these settings; options go before it.", show_default=False),
    ] = None,
    ray: RayAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")] = False,
) -> None:
    """Search for the layers and strengths that raise compliance most without losing safety; write no model.

    Every trial is kept: run the same command again to go on, with a larger --budget to search longer.
    """
    run(make_recipe(recipe, **settings), output, as_json=as_json, ray=ray)


def run(asked: Recipe, output: Path | None, *, as_json: bool, ray: str | None = None) -> None:
    """Search, and print what there is to choose from."""
    from prosafeprune.jobs.plan import run_search
    from prosafeprune.report.search_grid import search_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    with TerminalReporter() as reporter:
        record, folder = run_search(asked, output, reporter, ray)
        if as_json:
            print_json(record.model_dump_json(indent=2))
        else:
            print_grid(search_grid(record))
        reporter.note(f"Read {folder / 'report.html'}; figure and numbers are beside it.")
        if record.chosen is None:
            reporter.warning("No plan that was measured complies more than the source and keeps the safety floor.")
        reporter.note(
            f"To make a point of this search: prosafeprune prune {asked.model} -o OUTPUT --search {folder} --choose N"
        )
