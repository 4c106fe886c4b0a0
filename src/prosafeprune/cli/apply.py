"""``prosafeprune apply``: an adapter and its base made into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import options_of
from prosafeprune.requests.measuring import MeasuringSettings
from prosafeprune.requests.recipe import Recipe

MEASURING = ("strength", "max_new_tokens", "max_safety_drop", *MeasuringSettings.model_fields)
OF_THE_ADAPTER = ("model", "revision", "trust_remote_code", "prompt_field", "seed")
LEFT_OUT = [name for name in Recipe.model_fields if name not in MEASURING or name in OF_THE_ADAPTER]


@options_of(Recipe, without=LEFT_OUT)
def apply(
    settings: dict[str, Any],
    adapter: Annotated[str, typer.Argument(help="Folder or hub id of an adapter that prune --format adapter wrote.")],
    base: Annotated[str, typer.Argument(help="The model it was made from: local folder, hub id or .gguf file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")] = False,
) -> None:
    """Make the pruned checkpoint from an adapter and the model it was made from, without calibration.

    Settings left out are the adapter's own. With another --strength the result is measured anew, as the other settings
    say, and held to the safety floor; without one nothing is measured, and they have no effect.
    """
    from prosafeprune.jobs.apply import run_apply
    from prosafeprune.jobs.safety_gate import require_safe
    from prosafeprune.report.prune_grids import prune_grid
    from prosafeprune.terminal import TerminalReporter, print_grid, print_json

    with TerminalReporter() as reporter:
        applied = run_apply(adapter, base, output, settings, overwrite=overwrite, reporter=reporter)
        if as_json:
            print_json(applied.record.model_dump_json(indent=2))
        else:
            print_grid(prune_grid(applied.record))
        if applied.measured is not None:
            require_safe(applied.measured)
        else:
            reporter.note("The figures are the adapter's; the checkpoint differs from it by rounding.")
        reporter.note(f"Written to {applied.output}. It loads like any other model.")
