"""The application that gathers the commands."""

from __future__ import annotations

from typing import Annotated

import typer

import prosafeprune
from prosafeprune.cli.analyze import LISTING, analyze
from prosafeprune.cli.apply import apply
from prosafeprune.cli.compare import compare
from prosafeprune.cli.demo import demo
from prosafeprune.cli.evaluate import evaluate
from prosafeprune.cli.judge import judge
from prosafeprune.cli.prune import prune
from prosafeprune.cli.search import search
from prosafeprune.parallel.launch import require_one_process

IN_SEVERAL_PROCESSES = ("prune", "search", "evaluate")
"""Commands that torchrun may start."""

app = typer.Typer(
    name="prosafeprune",
    help="Cure over-refusal in open-weight language models without weakening their safety.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Exit codes: 0 done; 2 something given cannot be used; 3 no safe result, nothing saved.",
)
app.command()(prune)
app.command()(search)
app.command()(apply)
app.command()(demo)
app.command()(evaluate)
app.command()(compare)
app.command()(judge)
app.command(epilog=LISTING)(analyze)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(prosafeprune.__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Cure over-refusal in open-weight language models without weakening their safety."""
    if context.invoked_subcommand not in IN_SEVERAL_PROCESSES:
        require_one_process(f"prosafeprune {context.invoked_subcommand}")
