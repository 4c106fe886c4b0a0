"""The section of a page on what changed since an earlier pruning of the same model (``prune --from``)."""

from collections.abc import Sequence

from prosafeprune.evaluation.earlier_pruning import Since
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.report.assessment import describe_change
from prosafeprune.report.example_answers import answers_to
from prosafeprune.report.page import Block, Facts, Paragraph, Section, Subheading
from prosafeprune.report.plan_facts import plan_layers
from prosafeprune.report.record import Record
from prosafeprune.text import short_name


def since_section(since: Since, record: Record, came_back: Sequence[str], after: Measurement) -> Section:
    """Return what changed since an earlier pruning, given the prompts that it had fixed and that are not answered."""
    blocks = [*_changes(since, record), *_came_back(came_back, record, after)]
    return Section(f"What changed since {short_name(since.name)}", blocks)


def _changes(since: Since, record: Record) -> list[Block]:
    safety = since.safety_change
    return [
        Paragraph(
            f"Both models were made from the same base model. On the pseudo-harmful prompts that {since.name} was "
            f"measured on, C.R. changed by {describe_change(since.compliance_change)}. Of {since.fixed} prompts that "
            f"it had fixed, {since.came_back} came back. {_kept(record)}"
            + (f" S.S. on harmful prompts in common: {describe_change(safety)}." if safety is not None else "")
        ),
        Facts(
            [
                ("layers:strength before", plan_layers(since.plan)),
                ("layers:strength now", plan_layers(record.pruning_plan)),
            ]
        ),
    ]


def reason_not_kept(record: Record) -> str | None:
    """Return why the model is not saved, in a sentence, when too much of what was answered before came back."""
    return record.since.reason_not_kept(FloorRule.of(record.recipe)) if record.since is not None else None


def _kept(record: Record) -> str:
    """Return whether what an earlier pruning answered is kept, and what that means."""
    rule = FloorRule.of(record.recipe)
    if rule.is_off:
        return "The model would have been saved whatever came back (--max-safety-drop 100)."
    not_kept = reason_not_kept(record)
    if not_kept is not None:
        return f"{not_kept} Such a model is not saved."
    tested = (
        f", and not significantly, with {100 * rule.confidence:g} % confidence" if rule.floor == "confident" else ""
    )
    return f"That keeps what was answered before: C.R. may not fall by more than {rule.max_drop:g} points{tested}."


def _came_back(prompts: Sequence[str], record: Record, after: Measurement) -> list[Block]:
    if not prompts:
        return []
    return [Subheading("Prompts that came back"), answers_to(prompts, after.sets, record.changed_model)]
