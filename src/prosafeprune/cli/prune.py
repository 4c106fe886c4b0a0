"""``prosafeprune prune``: prune a model and measure it before and after."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.failures import shown_command
from prosafeprune.cli.options import (
    PLAN_DEFAULTS,
    AsJson,
    DryRun,
    OverwriteModel,
    PublicPush,
    PushTo,
    RayAddress,
    RecipeFile,
    options_of,
    output_option,
)
from prosafeprune.errors import InputError
from prosafeprune.parallel.launch import require_one_process
from prosafeprune.requests.recipe import Recipe, make_recipe


@options_of(Recipe, defaults=PLAN_DEFAULTS)
def prune(
    settings: dict[str, Any],
    output: Annotated[Path | None, output_option("Folder to write. Without it, nothing is written.")] = None,
    search: Annotated[
        Path | None,
        typer.Option(
            "--search", help="Folder of a search to use or resume. Default: found in the cache.", show_default=False
        ),
    ] = None,
    choose: Annotated[
        int | None,
        typer.Option("--choose", help="Number of the point of the search to prune with.", show_default=False),
    ] = None,
    recipe: RecipeFile = None,
    ray: RayAddress = None,
    overwrite: OverwriteModel = False,
    push: PushTo = None,
    public: PublicPush = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
) -> None:
    """Prune a model so that it answers harmless but risky-sounding requests, and measure what changed.

    Without --layers, layers and strengths are searched for. A model that loses too many refusals is not saved.
    """
    asked = make_recipe(recipe, **settings)
    if dry_run:
        show_dry_run(asked, output, overwrite=overwrite, search=search, choose=choose)
        return
    if push is not None or public:
        from prosafeprune.cli.pushing import uploaded

        with uploaded(asked, output, push, public, anew=overwrite or choose is not None) as is_written:
            if not is_written:
                run(asked, output, overwrite=overwrite, as_json=as_json, search=search, choose=choose, ray=ray)
        return
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
    """Prune and print the result."""
    from prosafeprune.setup.early_checks import check_early

    if asked.memory == "low":
        if search is not None or choose is not None or ray is not None:
            raise InputError(
                "--search, --choose and --ray need the complete model in memory. Give --layers to --memory low."
            )
        require_one_process("--memory low")
    check_early(asked, output, overwrite=overwrite, search=search, choose=choose)  # before torch is imported
    from prosafeprune.jobs.prune import run_prune
    from prosafeprune.jobs.safety_gate import require_safe
    from prosafeprune.report.grid import DRAFT
    from prosafeprune.report.prune_grids import examples_grid, prune_grid
    from prosafeprune.report.search_grid import search_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    if asked.memory == "low":
        _run_unmeasured(asked, output, overwrite=overwrite, as_json=as_json)
        return
    with TerminalReporter() as reporter:
        if output is None:
            reporter.note("No --output: the pruned model is measured, and nothing is written.")
        if asked.is_draft:
            reporter.note(f"{DRAFT}: at most {asked.test_samples} of each set.")
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
        if asked.is_draft:
            reporter.warning(f"{DRAFT}: it says nothing on safety. Measured in full and saved: {_follow_up()}")
            return
        require_safe(result)
        if result.output is None:
            reporter.note(f"Nothing was written. To write this model, reusing what is done: {_follow_up()}")
        else:
            loads = "any LoRA adapter" if asked.format == "adapter" else "any model"
            reporter.note(f"Written to {result.output}. It loads like {loads}. Report: {result.report}")


def _follow_up() -> str:
    """Return the command that writes the model that this one measured."""
    kept: list[str] = []
    given = iter(sys.argv[1:])
    for argument in given:
        if argument == "--test-samples":
            next(given, None)
        elif argument not in ("--draft", "--json") and not argument.startswith("--test-samples="):
            kept.append(argument)
    return shown_command([*kept, "-o", "pruned"])


def show_dry_run(
    asked: Recipe,
    output: Path | None,
    *,
    overwrite: bool = False,
    search: Path | None = None,
    choose: int | None = None,
    search_only: bool = False,
) -> None:
    """Print what a run would do, and what it costs."""
    from prosafeprune.setup.early_checks import check_early

    check_early(asked, output, overwrite=overwrite, search=search, choose=choose)
    from prosafeprune.jobs.outlook import dry_run, planned
    from prosafeprune.terminal import TerminalReporter, print_grid

    with TerminalReporter() as reporter:
        job, plan = planned(asked, output, overwrite=overwrite, search=search, choose=choose, reporter=reporter)
        for grid in dry_run(job, plan, search_only=search_only):
            print_grid(grid)


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
        reporter.warning(f"{result.record.not_measured} The README.md there says how.")
