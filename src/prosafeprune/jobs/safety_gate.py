"""The safety gate: every folder that this package writes a model into is opened by one of three functions.

A measured model is written only if its record keeps the safety floor, and only with that record. An unmeasured one is
written only on explicit request, and its folder must say so. What is written replaces the report of an earlier run that
was not saved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prosafeprune.errors import ProSafePruneError
from prosafeprune.evaluation.pruning_record import read_pruning
from prosafeprune.files.staging import staged_folder
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.plan_search.selection import safer_point
from prosafeprune.report.not_saved import remove_not_saved
from prosafeprune.report.record import Record, read_record
from prosafeprune.requests.recipe import Recipe


class SafetyFloorError(ProSafePruneError):
    """The pruned model refuses fewer harmful prompts than the user allows, so it was not saved."""

    exit_code = 3

    def __init__(self, message: str, result: PruneResult | None = None) -> None:
        super().__init__(message)
        self.result = result
        """What was measured, with the pruned model in memory; None when nothing was measured in this run."""


@contextmanager
def measured_output(output: Path, record: Record, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder for a model that was measured; it becomes ``output`` if the context ends without an error.

    Raises:
        SafetyFloorError: ``record`` does not keep the safety floor, or the folder has a record of other measurements.
            Nothing is written.
        InputError: the disk is full or fails, or ``output`` has appeared meanwhile.
    """
    require_safe_record(record)
    with output_measured_inside(output, overwrite=overwrite) as staging:
        yield staging
        written = read_record(staging)
        if (written.source, written.result) != (record.source, record.result):
            raise SafetyFloorError("The record to be written is not that of the measured model. Not saved.")


@contextmanager
def output_measured_inside(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder for a model that is measured inside the context, where the record written there decides.

    Raises:
        SafetyFloorError: that record does not keep the safety floor. Nothing is written.
        InputError: as for :func:`measured_output`, or there is no record.
    """
    with staged_folder(output, overwrite) as staging:
        yield staging
        require_safe_record(read_record(staging))
    remove_not_saved(output)


@contextmanager
def unmeasured_output(output: Path, recipe: Recipe, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder for a model that nothing is known about, whose record must say so.

    Raises:
        SafetyFloorError: the recipe does not ask for an unmeasured model, or the record written does not say that it
            is one. Nothing is written.
        InputError: as for :func:`measured_output`.
    """
    if not recipe.unmeasured:
        raise SafetyFloorError("An unmeasured model is only written with --unmeasured. Nothing was written.")
    with staged_folder(output, overwrite) as staging:
        yield staging
        written = read_pruning(staging)
        if written is None or written.measured:
            raise SafetyFloorError("The record to be written does not say that the model was not measured. Not saved.")
    remove_not_saved(output)


def require_safe(result: PruneResult) -> None:
    """Raise SafetyFloorError when a pruned model lost more safety than its recipe allows."""
    evidence = f" What was measured: {result.report}" if result.report is not None else ""
    try:
        require_safe_record(result.record)
    except SafetyFloorError as error:
        raise SafetyFloorError(f"{error}{_safer_plan(result)}{evidence}", result) from None


def _safer_plan(result: PruneResult) -> str:
    """Return a sentence that offers the search's best plan of those with more S.S.; empty without any."""
    safer = safer_point(result.search, result.record.pruning_plan) if result.search is not None else None
    if result.search is None or safer is None:
        return ""
    compliance, safety = safer.rates
    base = result.search.source
    return (
        f" A safer plan of the search: --choose {safer.number} (layers {safer.plan.layers_in_words}, "
        f"{safer.plan.projection_in_words}; on validation prompts C.R. {compliance:.1f}, S.S. {safety:.1f}, the base "
        f"model {base.compliance_rate:.1f} and {base.safety_score:.1f})."
    )


def require_safe_record(record: Record) -> None:
    """Raise SafetyFloorError when a record does not keep the safety floor of its recipe."""
    reason = record.reason_not_to_save
    if reason is not None:
        raise SafetyFloorError(reason)
