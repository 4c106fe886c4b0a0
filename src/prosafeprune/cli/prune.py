"""``prosafeprune prune``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prosafeprune.cli.options import described, option
from prosafeprune.errors import InputError
from prosafeprune.recipe import Recipe, make_recipe

NOT_SETTINGS = ("output", "recipe", "overwrite", "as_json", "search", "choose")


def _option(field: str, *names: str) -> typer.models.OptionInfo:
    return option(Recipe, field, *names)


def prune(
    model: Annotated[str | None, typer.Argument(help=described(Recipe, "model"), show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; without it, only measure.", show_default=False),
    ] = None,
    layers: Annotated[str | None, _option("layers", "--layers")] = None,
    strength: Annotated[str | None, _option("strength", "--strength")] = None,
    budget: Annotated[str | None, _option("budget", "--budget")] = None,
    strategy: Annotated[str | None, _option("strategy", "--strategy")] = None,
    confirmations: Annotated[str | None, _option("confirmations", "--confirmations")] = None,
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
    rank: Annotated[str | None, _option("rank", "--rank")] = None,
    pooling: Annotated[str | None, _option("pooling", "--pooling")] = None,
    harmful: Annotated[str | None, _option("harmful", "--harmful")] = None,
    benign: Annotated[str | None, _option("benign", "--benign")] = None,
    pseudo_harmful: Annotated[str | None, _option("pseudo_harmful", "--pseudo-harmful")] = None,
    prompt_field: Annotated[str | None, _option("prompt_field", "--prompt-field")] = None,
    samples: Annotated[str | None, _option("samples", "--samples")] = None,
    seed: Annotated[str | None, _option("seed", "--seed")] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    dtype: Annotated[str | None, _option("dtype", "--dtype")] = None,
    batch_size: Annotated[str | None, _option("batch_size", "--batch-size")] = None,
    suite: Annotated[str | None, _option("suite", "--suite")] = None,
    benchmark: Annotated[list[str] | None, _option("benchmark", "--benchmark", "-b")] = None,
    data_dir: Annotated[str | None, _option("data_dir", "--data-dir")] = None,
    benchmark_samples: Annotated[str | None, _option("benchmark_samples", "--benchmark-samples")] = None,
    judge: Annotated[str | None, _option("judge", "--judge")] = None,
    judge_endpoint: Annotated[str | None, _option("judge_endpoint", "--judge-endpoint")] = None,
    judge_model: Annotated[str | None, _option("judge_model", "--judge-model")] = None,
    judge_concurrency: Annotated[str | None, _option("judge_concurrency", "--judge-concurrency")] = None,
    judge_device: Annotated[str | None, _option("judge_device", "--judge-device")] = None,
    max_new_tokens: Annotated[str | None, _option("max_new_tokens", "--max-new-tokens")] = None,
    max_safety_drop: Annotated[str | None, _option("max_safety_drop", "--max-safety-drop")] = None,
    revision: Annotated[str | None, _option("revision", "--revision")] = None,
    trust_remote_code: Annotated[bool | None, _option("trust_remote_code", "--trust-remote-code")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="YAML file of these settings; options go before it.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Prune a model so that it answers harmless requests that merely sound risky, and measure what changed."""
    settings = {name: value for name, value in locals().items() if name not in NOT_SETTINGS}
    settings["benchmark"] = benchmark or None
    asked = make_recipe(recipe, **settings)
    run(asked, output, overwrite=overwrite, as_json=as_json, search=search, choose=choose)


def run(
    asked: Recipe,
    output: Path | None,
    *,
    overwrite: bool,
    as_json: bool,
    search: Path | None = None,
    choose: int | None = None,
) -> None:
    """Do the main job and print what came of it."""
    from prosafeprune.pipeline import require_safe, run_recipe
    from prosafeprune.report.search_table import search_table
    from prosafeprune.report.tables import examples_table, scores_table
    from prosafeprune.terminal import TerminalReporter, print_table

    if asked.memory == "low":
        if search is not None or choose is not None:
            raise InputError("--search and --choose need the whole model in memory. Give --layers to --memory low.")
        _run_unmeasured(asked, output, overwrite=overwrite, as_json=as_json)
        return
    with TerminalReporter() as reporter:
        result = run_recipe(asked, output, overwrite=overwrite, search_folder=search, choose=choose, reporter=reporter)
        if as_json:
            typer.echo(result.record.model_dump_json(indent=2))
        else:
            if result.search is not None:
                print_table(search_table(result.search))
            print_table(scores_table(result.record))
            print_table(examples_table(result.before, result.after))
        require_safe(result)
        if result.output is not None:
            reporter.note(f"Written to {result.output}. It loads like any other model.")


def _run_unmeasured(asked: Recipe, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    from prosafeprune.report.tables import unmeasured_table
    from prosafeprune.terminal import TerminalReporter, print_table
    from prosafeprune.unmeasured import run_unmeasured

    with TerminalReporter() as reporter:
        result = run_unmeasured(asked, output, overwrite=overwrite, reporter=reporter)
        if as_json:
            typer.echo(result.record.model_dump_json(indent=2))
        else:
            print_table(unmeasured_table(result.record))
        reporter.note(f"Written to {result.output}.")
        reporter.warning(f"{result.record.not_measured} Its README.md says how.")
