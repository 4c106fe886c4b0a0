"""What the measurements of a pruned model show, in sentences for page, card and terminal."""

from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.sets import USERS_SETS
from prosafeprune.prompts import PromptClass
from prosafeprune.report.assessment import Assessment, assess_compliance, assess_safety
from prosafeprune.report.record import Record


def assess_record(record: Record) -> tuple[Assessment, Assessment]:
    """Return the assessments of the changes of C.R. and of S.S."""
    rule = FloorRule.of(record.recipe)
    safety = assess_safety(
        record.safety_change,
        None if rule.is_off else rule.max_drop,
        testable=record.floor_can_be_tested,
        decision=record.decision,
        is_hidden=record.is_hidden_by_system,
        safety=record.result.safety,
    )
    return assess_compliance(record.compliance_change), safety


def finding(record: Record) -> str:
    """Return what the test prompts showed, with a warning where the user's domain was measured only in part."""
    compliance, safety = assess_record(record)
    return " ".join([f"The {record.changed_model} {compliance.clause}; it {safety.clause}.", *domain_warnings(record)])


def domain_warnings(record: Record) -> list[str]:
    """Return a warning if the user's harmless prompts were measured and no harmful ones."""
    if _has_user_set(record, PromptClass.PSEUDO_HARMFUL) and not _has_user_set(record, PromptClass.HARMFUL):
        return [
            "No harmful requests of your own domain were measured. Before you deploy, give some: --harmful with "
            "--hold-out, or --test-harmful."
        ]
    return []


def _has_user_set(record: Record, prompt_class: PromptClass) -> bool:
    """Return whether prompts of a class are the user's, held out or only measured on."""
    begins = tuple(f"{prefix}{prompt_class.in_words}" for prefix in USERS_SETS)
    return any(name.startswith(begins) for name in record.evaluation)
