"""Prune, or a system prompt? What the measurement of both says, in words for terminal, page and card."""

from prosafeprune.evaluation.prompted_base import PromptedBase, PromptingVerdict
from prosafeprune.evaluation.scores import is_significant
from prosafeprune.report.assessment import format_p, signed
from prosafeprune.report.record import Record
from prosafeprune.report.reproduce_command import TOGETHER
from prosafeprune.text import told_apart

QUESTION = "Prune, or a system prompt?"
BOTH = f"prosafeprune compare MODEL -o DIR --methods {','.join(TOGETHER)}"


def prompting_advice(record: Record) -> str | None:
    """Return in one sentence which of the two the measurement favours; None where it was not made."""
    if record.prompted is None:
        return None
    return advice_sentence(record.prompted, keeps_floor=record.is_safe)


def advice_sentence(found: PromptedBase, *, keeps_floor: bool) -> str:
    """Return in one sentence whether the system prompt alone would do, with the figures that say so.

    Args:
        keeps_floor: whether the pruned model may be saved.
    """
    change = found.tradeoff_change
    figures = (
        f"T.S. {found.prompted.tradeoff_score:.1f} behind it and {found.pruned.tradeoff_score:.1f} pruned, on "
        f"{found.prompted.compliance.total} harmless and {found.prompted.safety.total} harmful test prompts "
        f"({signed(change.points)} points, 95 % interval {signed(change.low)} to {signed(change.high)}, "
        f"p {format_p(change.p_value)})"
    )
    unsaved = "" if keeps_floor else ", but the pruned model may not be saved"
    if found.verdict is PromptingVerdict.PRUNING:
        return f"Pruning is significantly better than a system prompt alone: {figures}{unsaved}."
    if change.points >= 0:
        finding = "is not shown to be worse than pruning"
    elif is_significant(change):
        finding = "is significantly better than pruning"
    else:
        finding = "has a higher T.S. than pruning, not significantly"
    dropped = found.refusals.drop
    # The rates next to it count answers without a verdict as no refusals, before as after.
    without = found.refusals.without_verdict + found.refusals.without_verdict_before
    counted = " (answers without a verdict count against it)" if without else ""
    if found.verdict is PromptingVerdict.LESS_SAFE:
        falls = told_apart(dropped, found.allowed_drop)
        loss = f"behind it S.S. falls by {falls} points{counted}, more than the {found.allowed_drop:g} allowed"
        return f"A system prompt alone {finding}, but {loss}: {figures}{unsaved}."
    kept = f"S.S. falls by {dropped:.1f} points{counted}" if dropped > 0 else "S.S. does not fall"
    return f"A system prompt alone {finding}, and behind it {kept}: {figures}{unsaved}."


def prompting_offer(record: Record) -> str | None:
    """Return what using the system prompt instead takes; None unless the measurement favours it or both are equal."""
    found = record.prompted
    if found is None or found.verdict is not PromptingVerdict.PROMPTING:
        return None
    own = " after your own (--system)" if record.recipe.system is not None else ""
    return (
        f"If you control every prompt, the system prompt below{own} may be all you need. It works only where every "
        f"conversation begins with it, and its {found.tokens} tokens are read in each; pruning stays in the weights. "
        f"Both together are measured by {BOTH}."
    )
