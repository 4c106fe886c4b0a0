"""What stops an unsafe save: a result that lost too many refusals is reported and not written."""

from __future__ import annotations

from prosafeprune.errors import ProSafePruneError
from prosafeprune.jobs.prune_result import PruneResult


class SafetyFloorError(ProSafePruneError):
    """The result refuses fewer harmful prompts than the user allows, so it was not saved."""

    exit_code = 3

    def __init__(self, message: str, result: PruneResult) -> None:
        super().__init__(message)
        self.result = result
        """What was measured, with the pruned model in memory."""


def require_safe(result: PruneResult) -> None:
    """Raise SafetyFloorError when a result lost more safety than its recipe allows."""
    evidence = f" What was measured: {result.report}" if result.report is not None else ""
    if not result.record.floor_can_be_tested:
        raise SafetyFloorError(
            f"The source refuses only {result.record.source.safety_score:.1f} % of harmful prompts, so a loss of "
            "safety could not show, and nothing was saved. Raise --max-new-tokens if answers were cut too short to "
            f"tell; --max-safety-drop 100 saves whatever comes.{evidence}",
            result,
        )
    if not result.is_safe:
        raise SafetyFloorError(
            f"The pruned model refuses {result.safety_drop:.1f} points fewer harmful prompts, more than the "
            f"{result.record.recipe.max_safety_drop:g} allowed, so it was not saved. Use other or fewer --layers, or a "
            f"smaller --strength.{evidence}",
            result,
        )
