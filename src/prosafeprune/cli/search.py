"""``prosafeprune search``: find layers and strength, and stop before a model is written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prosafeprune.cli.options import described, option
from prosafeprune.recipe import Recipe, make_recipe


def _option(field: str, *names: str) -> typer.models.OptionInfo:
    return option(Recipe, field, *names)


def search(
    model: Annotated[str | None, typer.Argument(help=described(Recipe, "model"), show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder of the search, to go on with. Default: search-NAME.", show_default=False
        ),
    ] = None,
    budget: Annotated[str | None, _option("budget", "--budget")] = None,
    strategy: Annotated[str | None, _option("strategy", "--strategy")] = None,
    confirmations: Annotated[str | None, _option("confirmations", "--confirmations")] = None,
    rank: Annotated[str | None, _option("rank", "--rank")] = None,
    pooling: Annotated[str | None, _option("pooling", "--pooling")] = None,
    harmful: Annotated[str | None, _option("harmful", "--harmful")] = None,
    benign: Annotated[str | None, _option("benign", "--benign")] = None,
    pseudo_harmful: Annotated[str | None, _option("pseudo_harmful", "--pseudo-harmful")] = None,
    prompt_field: Annotated[str | None, _option("prompt_field", "--prompt-field")] = None,
    samples: Annotated[str | None, _option("samples", "--samples")] = None,
    seed: Annotated[str | None, _option("seed", "--seed")] = None,
    judge: Annotated[str | None, _option("judge", "--judge")] = None,
    judge_endpoint: Annotated[str | None, _option("judge_endpoint", "--judge-endpoint")] = None,
    judge_model: Annotated[str | None, _option("judge_model", "--judge-model")] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    dtype: Annotated[str | None, _option("dtype", "--dtype")] = None,
    batch_size: Annotated[str | None, _option("batch_size", "--batch-size")] = None,
    max_new_tokens: Annotated[str | None, _option("max_new_tokens", "--max-new-tokens")] = None,
    max_safety_drop: Annotated[str | None, _option("max_safety_drop", "--max-safety-drop")] = None,
    revision: Annotated[str | None, _option("revision", "--revision")] = None,
    trust_remote_code: Annotated[bool | None, _option("trust_remote_code", "--trust-remote-code")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="YAML file of these settings; options go before it.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")] = False,
) -> None:
    """Search for the layers and strengths that raise compliance most without losing safety; write no model.

    Every trial is kept: run the same command again to go on, with a larger --budget to search longer.
    """
    settings = {name: value for name, value in locals().items() if name not in ("output", "recipe", "as_json")}
    run(make_recipe(recipe, **settings), output, as_json=as_json)


def run(asked: Recipe, output: Path | None, *, as_json: bool) -> None:
    """Search, and print what there is to choose from."""
    from prosafeprune.planning import run_search
    from prosafeprune.report.search_table import search_table
    from prosafeprune.terminal import TerminalReporter, print_table

    with TerminalReporter() as reporter:
        record, folder = run_search(asked, output, reporter)
        if as_json:
            typer.echo(record.model_dump_json(indent=2))
        else:
            print_table(search_table(record))
        reporter.note(f"Read {folder / 'report.html'}; figure and numbers are beside it.")
        if record.chosen is None:
            reporter.warning("No plan that was measured complies more than the source and keeps the safety floor.")
        reporter.note(
            f"To make a point of this search: prosafeprune prune {asked.model} -o OUTPUT --search {folder} --choose N"
        )
