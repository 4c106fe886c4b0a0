"""The page of an evaluation: what the model does, and what has changed since another one."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.evaluation.earlier_evaluation import EvaluationComparison
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.evaluation_record import EvaluationRecord
from prosafeprune.report.example_answers import answers_before_and_after, answers_of
from prosafeprune.report.findings import (
    change_sentence,
    compliance_finding,
    damage_sentence,
    safety_finding,
    unsafe_sentences,
    worst,
)
from prosafeprune.report.page import Block, Facts, Headline, Mark, Page, Paragraph, Section, Table
from prosafeprune.report.rate_tables import change_table, rates_table
from prosafeprune.report.reproduce_command import command, depends_on


def evaluation_page(record: EvaluationRecord, now: Measurement, earlier: Measurement | None) -> Page:
    """Return the page of an evaluation.

    Args:
        record: what was measured.
        now: the model's answers.
        earlier: the answers of what it is compared with; given when ``record.against`` is.
    """
    name = _name(record)
    judged = (
        f"Answers of at most {record.request.max_new_tokens} tokens, judged by {record.judge}. Broken and undetermined "
        "answers count neither as compliance nor as refusal."
    )
    against = record.against
    if against is not None and earlier is not None:
        names = (against.name, name)
        table = change_table("Rates on each set", against.scores, record.scores, against.changes, names)
        answers = answers_before_and_after(earlier.sets, now.sets, names, against.changes)
        headline = _compared(record, against)
    else:
        table, answers = rates_table("Rates on each set", record.scores), answers_of(now.sets, name)
        headline = _alone(record)
    sections = [Section("Compliance and safety", [table, Paragraph(judged)]), Section("Answers", answers)]
    if record.ability or record.divergence is not None:
        sections.append(Section("General ability and damage", _further(record)))
    sections.append(Section("Repeating it", _repeating(record)))
    return Page(f"Evaluation of {name}", headline, sections)


def _alone(record: EvaluationRecord) -> Headline:
    scores = record.scores
    told = []
    if scores.compliance_rate is not None:
        told.append(f"complies with {scores.compliance_rate:.1f} % of harmless requests that sound risky")
    if scores.safety_score is not None:
        told.append(f"refuses {scores.safety_score:.1f} % of harmful requests")
    text = f"{_name(record)} {' and '.join(told) or 'was measured on benign requests alone'}."
    sets = [f"{one.title} {one.rate.percent:.1f} [{one.rate.low:.1f}, {one.rate.high:.1f}]" for one in scores.sets]
    unsafe = unsafe_sentences(scores)
    mark = Mark.CAUTION if unsafe else Mark.NEUTRAL
    sentences = [f"Percent, with 95 % intervals: {'; '.join(sets)}.", *unsafe, *_damage(record)]
    return Headline(mark, "Measured", text, sentences)


def _compared(record: EvaluationRecord, against: EvaluationComparison) -> Headline:
    found, sentences = [], []
    if against.compliance_change is not None:
        found.append(compliance_finding(against.compliance_change))
        sentences.append(
            change_sentence(against.scores, record.scores, PromptClass.PSEUDO_HARMFUL, against.compliance_change)
        )
    if against.safety_change is not None:
        found.append(safety_finding(against.safety_change, None))
        sentences.append(change_sentence(against.scores, record.scores, PromptClass.HARMFUL, against.safety_change))
    if not found:
        return _alone(record)
    unsafe = unsafe_sentences(record.scores)
    clauses = "; it ".join(one.clause for one in found)
    return Headline(
        worst(*(one.mark for one in found), *(Mark.CAUTION for _ in unsafe)),
        " ".join(f"{one.label}." for one in found),
        f"Compared with {against.name}, {_name(record)} {clauses}.",
        [*sentences, *unsafe, *_damage(record)],
    )


def _damage(record: EvaluationRecord) -> list[str]:
    return [damage_sentence(record.divergence)] if record.divergence is not None else []


def _further(record: EvaluationRecord) -> list[Block]:
    blocks: list[Block] = [Paragraph(sentence) for sentence in _damage(record)]
    if record.ability:
        rows = [
            [
                f"{name}\n{task.accuracy.total} questions",
                f"{task.accuracy.percent:.1f}\n{task.accuracy.low:.1f} to {task.accuracy.high:.1f}",
                str(task.unparsed),
                str(task.cut),
            ]
            for name, task in record.ability.items()
        ]
        headings = ["", "right, %\n95 % interval", "not readable\nanswers", "cut short\nanswers"]
        blocks.append(Table("General ability", headings, rows))
    return blocks


def _repeating(record: EvaluationRecord) -> list[Block]:
    asked = command("evaluate", record.request, "OUTPUT")
    facts = depends_on("", record.prompts, record.versions)
    made = [(name.replace("_", " "), str(value)) for name, value in record.made_by.items()]
    ran = [
        (f"session {number}", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in session.items()))
        for number, session in enumerate(record.sessions, 1)
    ]
    return [asked, Facts([*made, *facts.pairs, *ran])]


def _name(record: EvaluationRecord) -> str:
    return Path(record.request.model).name or record.request.model or "The served model"
