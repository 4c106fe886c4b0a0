"""The Typer application with all commands."""

import inspect
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

import prosafeprune
from prosafeprune.cli.analyze import LISTING, analyze
from prosafeprune.cli.apply import apply
from prosafeprune.cli.chat import chat
from prosafeprune.cli.compare import compare
from prosafeprune.cli.demo import demo
from prosafeprune.cli.doctor import doctor
from prosafeprune.cli.evaluate import evaluate
from prosafeprune.cli.judge import judge
from prosafeprune.cli.playground import playground
from prosafeprune.cli.prompts import check, mine, rate, split
from prosafeprune.cli.prune import prune
from prosafeprune.cli.search import search
from prosafeprune.cli.serve import serve
from prosafeprune.cli.usage import PlainCommand, PlainGroup
from prosafeprune.parallel.launch import require_one_process

IN_SEVERAL_PROCESSES = ("prune", "search", "evaluate")
"""Commands that run under torchrun."""

app = typer.Typer(
    name="prosafeprune",
    cls=PlainGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 2 invalid input; 3 no safe model found, nothing saved; 4 prompts check "
    "found a prompt twice or reviewed in two ways; 70 internal error; 130 interrupted; 143 terminated; 129 hung up.",
)


def _help(command: Callable[..., None]) -> str:
    """Return a command's docstring with one line per paragraph: Typer keeps other line breaks."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return escape("\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs))


for command in (prune, search, apply, demo, evaluate, compare, judge, chat, playground, serve, doctor):
    app.command(cls=PlainCommand, help=_help(command))(command)
app.command(cls=PlainCommand, help=_help(analyze), epilog=escape(LISTING))(analyze)
prompts = typer.Typer(
    cls=PlainGroup, no_args_is_help=True, help="Turn chat logs into calibration prompts: mine, rate, check, split."
)
for command in (mine, rate, check, split):
    prompts.command(cls=PlainCommand, help=_help(command))(command)
app.add_typer(prompts, name="prompts")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(prosafeprune.__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, metavar="", help="Print the version.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", metavar="", help="Print the traceback of an internal error. Works after any command."),
    ] = False,
) -> None:
    """Reduce over-refusal in open-weight language models, and save the result only if tests show it is still safe."""
    if context.invoked_subcommand not in IN_SEVERAL_PROCESSES:
        require_one_process(f"prosafeprune {context.invoked_subcommand}")
