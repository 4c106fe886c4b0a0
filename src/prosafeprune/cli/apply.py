"""``prosafeprune apply``: an adapter and its base made into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prosafeprune.cli.options import option
from prosafeprune.recipe import Recipe


def apply(
    adapter: Annotated[str, typer.Argument(help="Folder or hub id of an adapter that prune --format adapter wrote.")],
    base: Annotated[str, typer.Argument(help="The model it was made from: local folder, hub id or .gguf file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    strength: Annotated[
        str | None,
        typer.Option(
            "--strength",
            help="In place of the adapter's: one, or one for each layer. The result is then measured anew and held to "
            "the safety floor.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, option(Recipe, "device", "--device")] = None,
    batch_size: Annotated[str | None, option(Recipe, "batch_size", "--batch-size")] = None,
    max_new_tokens: Annotated[str | None, option(Recipe, "max_new_tokens", "--max-new-tokens")] = None,
    max_safety_drop: Annotated[str | None, option(Recipe, "max_safety_drop", "--max-safety-drop")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model folder at --output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a table.")] = False,
) -> None:
    """Make the pruned checkpoint from an adapter and the model it was made from, without calibration.

    The settings of measuring are used with --strength alone; left out, they are the adapter's own.
    """
    from prosafeprune.applying import apply_adapter
    from prosafeprune.pipeline import require_safe
    from prosafeprune.report.tables import scores_table
    from prosafeprune.terminal import TerminalReporter, print_table

    settings = {
        "strength": strength,
        "device": device,
        "batch_size": batch_size,
        "max_new_tokens": max_new_tokens,
        "max_safety_drop": max_safety_drop,
    }
    with TerminalReporter() as reporter:
        applied = apply_adapter(adapter, base, output, settings, overwrite=overwrite, reporter=reporter)
        if as_json:
            typer.echo(applied.record.model_dump_json(indent=2))
        else:
            print_table(scores_table(applied.record))
            if applied.measured is None:
                reporter.note(
                    "These figures were measured with the adapter; the checkpoint differs from it by rounding."
                )
        if applied.measured is not None:
            require_safe(applied.measured)
        reporter.note(f"Written to {applied.output}. It loads like any other model.")
