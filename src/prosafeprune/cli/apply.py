"""``prosafeprune apply``: make a checkpoint of an adapter, or of the fit of a method, and its base model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from prosafeprune.cli.options import AsJson, OverwriteModel, PublicPush, PushTo, options_of, output_option
from prosafeprune.cli.pushing import uploaded
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.parsing import validate_settings


@options_of(ApplyRequest)
def apply(
    settings: dict[str, Any],
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER",
            help="Folder or hub id of an adapter that prune --format adapter wrote; or the fit of sft, self-training "
            "or actor that compare or evaluate kept: the method's folder, or fitted.safetensors in it.",
        ),
    ],
    output: Annotated[Path, output_option("Folder to write.")],
    overwrite: OverwriteModel = False,
    push: PushTo = None,
    public: PublicPush = False,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint from an adapter, or from the fit of a training method, and its base model.

    At another --strength, the pruned model is measured before it is saved. At the adapter's own, the measurements in
    its record are used. The model of a fit is always measured. In each case the safety floor is yours: no setting is
    taken from a record.
    """
    asked = validate_settings(ApplyRequest, settings)
    with uploaded(asked, output, push, public, anew=overwrite, adapter=adapter) as is_written:
        if not is_written:
            _run(adapter, asked, output, overwrite=overwrite, as_json=as_json)


def _run(adapter: str, asked: ApplyRequest, output: Path, *, overwrite: bool, as_json: bool) -> None:
    from prosafeprune.jobs.apply import run_apply
    from prosafeprune.jobs.safety_gate import require_safe
    from prosafeprune.terminal import TerminalReporter, print_result

    with TerminalReporter() as reporter:
        applied = run_apply(adapter, asked, output, overwrite=overwrite, reporter=reporter)
        print_result(applied.record.model_dump_json(indent=2), applied.grids(), as_json=as_json)
        if applied.measured is not None:
            require_safe(applied.measured)
        else:
            reporter.note("These are the adapter's measurements; the checkpoint differs from it by rounding.")
        how = "It loads with PEFT" if asked.format == "adapter" else "It loads like any model"
        reporter.note(f"Written to {applied.output}. {how}.")
