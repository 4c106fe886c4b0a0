"""The application that gathers the commands."""

from __future__ import annotations

from typing import Annotated

import typer

import prosafeprune
from prosafeprune.cli.apply import apply
from prosafeprune.cli.demo import demo
from prosafeprune.cli.evaluate import evaluate
from prosafeprune.cli.judge import judge
from prosafeprune.cli.prune import prune
from prosafeprune.cli.search import search

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
app.command()(judge)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(prosafeprune.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Cure over-refusal in open-weight language models without weakening their safety."""
