"""``prosafeprune prune``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import RayAddress, options_of
from prosafeprune.errors import InputError
from prosafeprune.parallel.launch import require_one_process
from prosafeprune.requests.recipe import Recipe, make_recipe


@options_of(Recipe)
def prune(
    settings: dict[str, Any],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; without it, only measure.", show_default=False),
    ] = None,
    search: Annotated[
        Path | None,
        typer.Option(
            "--search", help="Folder of a search, to go on with. Default: beside the output.", show_default=False
        ),
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option("--choose", help="Number of a point of the search at --search to make.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="YAML file of these settings; options go before it.", show_default=False),
    ] = None,
    ray: RayAddress = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Prune a model so that it answers harmless requests that merely sound risky, and measure what changed."""
    asked = make_recipe(recipe, **settings)
    run(asked, output, overwrite=overwrite, as_json=as_json, search=search, choose=choose, ray=ray)


def run(
    asked: Recipe,
    output: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
    search: Path | None = None,
    choose: int | None = None,
    ray: str | None = None,
) -> None:
    """Do the main job and print what came of it."""
    from prosafeprune.jobs.prune import run_prune
    from prosafeprune.jobs.safety_gate import require_safe
    from prosafeprune.report.prune_grids import examples_grid, prune_grid
    from prosafeprune.report.search_grid import search_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    if asked.memory == "low":
        if search is not None or choose is not None or ray is not None:
            raise InputError(
                "--search, --choose and --ray need the whole model in memory. Give --layers to --memory low."
            )
        require_one_process("--memory low")
        _run_unmeasured(asked, output, overwrite=overwrite, as_json=as_json)
        return
    with TerminalReporter() as reporter:
        result = run_prune(
            asked, output, overwrite=overwrite, search_folder=search, choose=choose, ray=ray, reporter=reporter
        )
        if as_json:
            print_json(result.record.model_dump_json(indent=2))
        else:
            if result.search is not None:
                print_grid(search_grid(result.search))
            print_grid(prune_grid(result.record))
            print_grid(examples_grid(result.before, result.after))
        require_safe(result)
        if result.output is not None:
            loads = "any other LoRA adapter" if asked.format == "adapter" else "any other model"
            reporter.note(f"Written to {result.output}. It loads like {loads}. Read {result.report}")


def _run_unmeasured(asked: Recipe, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from prosafeprune.jobs.prune_unmeasured import run_prune_unmeasured
    from prosafeprune.report.prune_grids import unmeasured_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    with TerminalReporter() as reporter:
        result = run_prune_unmeasured(asked, output, overwrite=overwrite, reporter=reporter)
        if as_json:
            print_json(result.record.model_dump_json(indent=2))
        else:
            print_grid(unmeasured_grid(result.record))
        reporter.note(f"Written to {result.output}.")
        reporter.warning(f"{result.record.not_measured} Its README.md says how.")
