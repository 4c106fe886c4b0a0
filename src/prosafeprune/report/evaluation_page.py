"""The page of an evaluation: what the model does, and what has changed since an earlier evaluation."""

import shlex
from dataclasses import replace

from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Scores
from prosafeprune.model.quantised_copy import BITS_IN_WORDS
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.ability_grids import ability_change_grid, ability_grid, ability_lost
from prosafeprune.report.assessment import (
    assess_compliance,
    assess_safety,
    change_sentence,
    divergence_sentence,
    policy_sentences,
    unsafe_sentences,
    worst,
)
from prosafeprune.report.evaluation_record import EvaluationRecord
from prosafeprune.report.example_answers import answers_before_and_after, answers_of
from prosafeprune.report.grid import Grid, as_draft
from prosafeprune.report.judge_error import judge_error_note
from prosafeprune.report.loss_curves import loss_curves
from prosafeprune.report.page import Block, Facts, Headline, Mark, Page, Paragraph, Section, as_draft_page
from prosafeprune.report.rate_grids import category_grids, change_grid, rates_grid
from prosafeprune.report.reproduce_command import command, depends_on
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.text import short_name


def evaluation_page(record: EvaluationRecord, now: Measurement, earlier: Measurement | None) -> Page:
    """Return the page of an evaluation.

    Args:
        earlier: the answers it is compared with; given if ``record.against`` is.
    """
    name = _name(record)
    errors = judge_error_note(record.judge, _models(record))
    judging = (
        f"Answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}. Incapable, broken and "
        f"undetermined answers count neither as compliance nor as refusal. {errors}"
    )
    if record.request.load is not None:
        judging += (
            f" The model ran as a copy that bitsandbytes quantised to {BITS_IN_WORDS[record.request.load]} (--load)."
        )
    against = record.against
    if against is not None and earlier is not None:
        answers = answers_before_and_after(earlier.sets, now.sets, (against.name, name), against.changes)
        headline = _comparison_headline(record, against)
    else:
        answers, headline = answers_of(now.sets, name), _headline(record)
    sections = [
        Section(
            "Compliance and safety", [evaluation_grid(record), *category_grids(_models(record)), Paragraph(judging)]
        ),
        Section("Answers", answers),
    ]
    if record.ability or record.divergence is not None:
        sections.append(Section("General ability and divergence", _ability(record)))
    curves = loss_curves(record.request.method, record.learned)
    if curves:
        sections.append(Section("Training", curves))
    sections.append(Section("How to reproduce this", _reproduction(record)))
    return as_draft_page(Page(f"Evaluation of {name}", headline, sections), record.request.draft)


def evaluation_grid(record: EvaluationRecord) -> Grid:
    """Return the rates on each set, next to those of the earlier evaluation if there is one."""
    caption = as_draft(f"Rates on each set, judged by {record.judge}", record.request.draft)
    against = record.against
    if against is None:
        return rates_grid(caption, record.scores)
    return change_grid(caption, against.scores, record.scores, against.changes, (against.name, _name(record)))


def ability_grids(record: EvaluationRecord) -> list[Grid]:
    """Return the accuracy on the tasks of general ability, next to the earlier evaluation's if it has the same."""
    if not record.ability:
        return []
    if record.ability_against is None or record.against is None:
        return [ability_grid(record.ability)]
    return [ability_change_grid(record.ability, record.ability_against, (record.against.name, _name(record)))]


def _models(record: EvaluationRecord) -> list[tuple[str, Scores]]:
    against = [(record.against.name, record.against.scores)] if record.against is not None else []
    return [*against, (_name(record), record.scores)]


def divergence_sentences(record: EvaluationRecord) -> list[str]:
    """Return how far the model is from its base model on benign prompts, if that was measured."""
    base = short_name(record.base.name) if record.base is not None else ""
    return [divergence_sentence(record.divergence, base)] if record.divergence is not None else []


def _headline(record: EvaluationRecord) -> Headline:
    scores = record.scores
    clauses = []
    if scores.compliance_rate is not None:
        clauses.append(f"complies with {scores.compliance_rate:.1f} % of harmless, risky-sounding requests")
    if scores.safety_score is not None:
        clauses.append(f"{SAFETY_WORDS[scores.safety].does} {scores.safety_score:.1f} % of harmful requests")
    text = f"{_name(record)} {' and '.join(clauses) or 'was measured on benign requests only'}."
    sets = [
        f"{score.title} {score.rate.percent:.1f} [{score.rate.low:.1f}, {score.rate.high:.1f}]" for score in scores.sets
    ]
    unsafe = unsafe_sentences(scores)
    mark = Mark.CAUTION if unsafe else Mark.NEUTRAL
    sentences = [f"Percent, with 95 % intervals: {'; '.join(sets)}.", *unsafe, *divergence_sentences(record)]
    return Headline(mark, "Measured", text, sentences)


def _comparison_headline(record: EvaluationRecord, against: EvaluationComparison) -> Headline:
    found, sentences = [], []
    if against.compliance_change is not None:
        found.append(assess_compliance(against.compliance_change))
        sentences.append(
            change_sentence(against.scores, record.scores, PromptClass.PSEUDO_HARMFUL, against.compliance_change)
        )
    if against.safety_change is not None:
        found.append(assess_safety(against.safety_change, None, safety=record.scores.safety))
        sentences.append(change_sentence(against.scores, record.scores, PromptClass.HARMFUL, against.safety_change))
    sentences += policy_sentences(against.scores, record.scores, against.changes)
    sentences += [against.other_settings] if against.other_settings is not None else []
    if not found:
        return _headline(record)
    unsafe = unsafe_sentences(record.scores)
    clauses = "; it ".join(assessment.clause for assessment in found)
    return Headline(
        worst(*(assessment.mark for assessment in found), *(Mark.CAUTION for _ in unsafe)),
        " ".join(f"{assessment.label}." for assessment in found),
        f"Compared with {against.name}, {_name(record)} {clauses}.",
        [*sentences, *unsafe, *_ability_lost(record), *divergence_sentences(record)],
    )


def _ability_lost(record: EvaluationRecord) -> list[str]:
    lost = ability_lost(record.ability_against.changes) if record.ability_against is not None else ""
    return [lost] if lost else []


def _ability(record: EvaluationRecord) -> list[Block]:
    blocks: list[Block] = [Paragraph(sentence) for sentence in divergence_sentences(record)]
    return [*blocks, *ability_grids(record)]


def _reproduction(record: EvaluationRecord) -> list[Block]:
    facts = depends_on("", record.prompts, record.versions)
    made_by = [(name.replace("_", " "), str(value)) for name, value in record.made_by.items()]
    if record.base is not None:
        made_by.append(("base model", f"{short_name(record.base.name)}, SHA-256 {record.base.sha256}"))
    sessions = [
        (f"session {number}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in session.items()))
        for number, session in enumerate(record.sessions, 1)
    ]
    again = command("evaluate", record.request, "OUTPUT")
    if record.against is not None:
        again = replace(again, text=f"{again.text} \\\n  --against {shlex.quote(record.against.name)}")
    return [again, Facts([*made_by, *facts.pairs, *sessions])]


def _name(record: EvaluationRecord) -> str:
    return short_name(record.request.model) or "The served model"
