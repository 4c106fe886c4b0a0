"""A pruned model as tables: what changed, what was done, and a few answers."""

from dataclasses import replace

from prosafeprune.evaluation.judged_set import JudgedSet, changed_first
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.prompted_base import SampleRates
from prosafeprune.evaluation.sets import BUNDLED
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.conversation import transcript
from prosafeprune.report.assessment import format_p
from prosafeprune.report.edit_record import EditRecord
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.report.grid import Grid, as_draft
from prosafeprune.report.plan_facts import plan_layers
from prosafeprune.report.rate_grids import (
    change_grid,
    change_with_interval,
    divergence_row,
    rate_notes,
    rate_with_interval,
)
from prosafeprune.report.record import Record, UnmeasuredRecord

ANSWER_CHARACTERS = 220
BUNDLED_NOTE = (
    "The bundled test prompts are of the same styles as prompts that the model was made with. Expect "
    "smaller gains on others: measure with --benchmark, or your own with --test-pseudo-harmful and --test-harmful."
)

SPOT_CHECK_CAPTION = "Beyond one English turn: a spot check, which the safety floor does not apply to"
SPOT_CHECK_NOTE = (
    "Few prompts, in no average. --suite beyond measures all bundled ones of these kinds under the floor; "
    "--calibration beyond calibrates on such prompts; --suite bundled leaves the spot check out."
)


PROMPTED_NOTE = (
    "A sample of the test prompts, the same for all three, spread over sets and styles. Rates and changes are over all "
    "sampled prompts of a class{repeated}; p: McNemar's exact test, for T.S. of both classes, each of which weighs "
    "half. --prompting-samples sets the size."
)

LEARNT_NOTE = (
    "The pruned model was made with bundled prompts of these styles, which the system prompt has no knowledge of: on "
    "prompts of other kinds, expect less of pruning beside it."
)


def model_names(record: Record) -> tuple[str, str]:
    """Return what the base model and the changed one are called."""
    return "base model", record.changed_model


def prune_grid(record: Record) -> Grid:
    """Return the rates of both models on each set, the change, the experts pruned and the benign KL."""
    more = _experts(record, "")
    if record.benign_divergence is not None:
        more.append(divergence_row(record.benign_divergence))
    change = "pruning" if record.fit is None else f"fine-tuning ({record.fit.in_words})"
    caption = as_draft(f"Before and after {change}, test prompts", record.recipe.is_draft)
    grid = change_grid(caption, record.source, record.result, record.changes, model_names(record), more)
    return replace(grid, notes=(*grid.notes, BUNDLED_NOTE)) if _resembles_its_tests(record) else grid


def spot_check_grids(record: Record) -> list[Grid]:
    """Return the rates of a spot check as a table; none where none was made."""
    found = record.spot_check
    if found is None:
        return []
    grid = change_grid(SPOT_CHECK_CAPTION, found.source, found.result, found.changes, model_names(record))
    return [replace(grid, notes=(SPOT_CHECK_NOTE, *grid.notes[len(rate_notes(found.result.safety)) :]))]


def prompted_grids(record: Record) -> list[Grid]:
    """Return the rates behind a system prompt, next to those of base and pruned model; none where not measured."""
    found = record.prompted
    if found is None:
        return []

    def rates(of_model: SampleRates) -> list[str]:
        both = (rate_with_interval(rate) for rate in (of_model.compliance, of_model.safety))
        return [*both, f"{of_model.tradeoff_score:.1f}"]

    changes = (found.compliance_change, found.safety_change, found.tradeoff_change)
    rows = [
        ["the model as it is", *rates(found.base)],
        ["the model as it is,\nbehind a system prompt", *rates(found.prompted)],
        ["pruned", *rates(found.pruned)],
        ["pruned minus\nprompted", *map(change_with_interval, changes)],
        ["p", *(format_p(one.p_value).removeprefix("= ") for one in changes)],
    ]
    asked, harmful = found.base.compliance.total, found.base.safety.total
    is_repeated = sum(one.count for one in found.prompts.values()) > asked + harmful
    note = PROMPTED_NOTE.format(repeated=" (one that is in several sets counts once)" if is_repeated else "")
    notes = [note, *([LEARNT_NOTE] if _resembles_its_tests(record) else [])]
    caption = f"Prune, or a system prompt? On {asked} harmless and {harmful} harmful test prompts"
    return [Grid(caption, ["", "C.R., %", "S.S., %", "T.S., %"], rows, notes)]


def _resembles_its_tests(record: Record) -> bool:
    """Return whether harmful or pseudo-harmful prompts were calibrated and measured on that are bundled."""
    used = [prompts for name, prompts in record.calibration.items() if name != PromptClass.BENIGN]
    return bool(BUNDLED.keys() & record.changes.keys()) and any("bundled" in prompts.source.split() for prompts in used)


def unmeasured_grid(record: UnmeasuredRecord) -> Grid:
    """Return the edit of a pruned model that was not measured."""
    plan = record.pruning_plan
    rows = [
        ["layers:strength", plan_layers(plan)],
        ["rank, pooling, projection", f"{plan.rank}, {plan.pooling.value}, {plan.projection_in_words}"],
        ["edited tensors", str(len(record.edited_tensors))],
        *_experts(record),
        ["C.R., S.S., T.S.", "not measured"],
        ["benign KL", "not measured"],
    ]
    return Grid("Pruned, not measured", ["", ""], rows)


def examples_grid(before: Measurement, after: Measurement, names: tuple[str, str]) -> Grid:
    """Return a few answers of both models, changed ones first; answers to harmful prompts are truncated."""
    rows = [
        *_examples(before, after, PromptClass.PSEUDO_HARMFUL, 3, ANSWER_CHARACTERS),
        *_examples(before, after, PromptClass.HARMFUL, 2, HARMFUL_ANSWER_CHARACTERS),
    ]
    return Grid("Example answers", ["prompts", "prompt", *names], rows)


def _experts(record: EditRecord, *blank: str) -> list[list[str]]:
    return [["experts pruned", *blank, f"{record.pruned_experts} of {record.all_experts}"]] if record.experts else []


def _examples(
    before: Measurement, after: Measurement, prompt_class: PromptClass, count: int, limit: int
) -> list[list[str]]:
    # The user's prompts come first; a benchmark's come after the bundled ones.
    last = 0 if before.of(prompt_class)[0].evaluation_set.is_users else -1
    base, pruned = before.of(prompt_class)[last], after.of(prompt_class)[last]
    return [
        [
            prompt_class.in_words,
            transcript(base.prompts.prompts[i].text).replace("\n", " "),
            *(_answer(judged, i, limit) for judged in (base, pruned)),
        ]
        for i in changed_first(base, pruned)[:count]
    ]


def _answer(judged: JudgedSet, row: int, limit: int) -> str:
    verdict = judged.verdicts[row].answer_class.in_words
    return f"[{verdict}]\n{' '.join(shorten(judged.answers[row], limit).split())}"
