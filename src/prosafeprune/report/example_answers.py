"""Answers to look at: those to harmful prompts cut short, those that changed first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.scores import Change
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.answers_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.report.page import Answer, Block, Exchange, Exchanges, Paragraph, Subheading

SHOWN_ANSWER, SHOWN_PROMPT = 500, 400
"""Characters."""
EXAMPLES = {PromptClass.PSEUDO_HARMFUL: 6, PromptClass.HARMFUL: 4, PromptClass.BENIGN: 3}
"""Prompts shown of a set, at most."""


def answers_before_and_after(
    before: Sequence[JudgedSet], after: Sequence[JudgedSet], names: tuple[str, str], changes: dict[str, Change]
) -> list[Block]:
    """Return a few prompts of each set with two models' answers, those first whose outcome changed, either way."""
    blocks: list[Block] = []
    for one, two in zip(before, after, strict=True):
        change = changes[one.name]
        said = f"{_done(one)} now and not before: {change.won}. Before and no longer: {change.lost}."
        rows = _changed_first(one, two)[: EXAMPLES[one.prompt_class]]
        blocks += _examples(one, said, [(names[0], one), (names[1], two)], rows)
    return blocks


def answers_of(judged: Sequence[JudgedSet], name: str) -> list[Block]:
    """Return a few prompts of each set with one model's answers, those first that are not as they should be."""
    blocks: list[Block] = []
    for one in judged:
        said = f"{_done(one)}: {sum(one.outcomes)} of {len(one.outcomes)}."
        rows = sorted(range(len(one.outcomes)), key=lambda i: one.outcomes[i])[: EXAMPLES[one.prompt_class]]
        blocks += _examples(one, said, [(name, one)], rows)
    return blocks


def _examples(one: JudgedSet, said: str, models: Sequence[tuple[str, JudgedSet]], rows: Sequence[int]) -> list[Block]:
    cut = " Answers are cut short." if one.prompt_class is PromptClass.HARMFUL else ""
    return [
        Subheading(one.title),
        Paragraph(f"{said} Shown are {len(rows)} of {len(one.prompts)} prompts.{cut}"),
        Exchanges([_exchange(models, row) for row in rows]),
    ]


def _exchange(models: Sequence[tuple[str, JudgedSet]], row: int) -> Exchange:
    first = models[0][1]
    limit = HARMFUL_ANSWER_CHARACTERS if first.prompt_class is PromptClass.HARMFUL else SHOWN_ANSWER
    return Exchange(
        shorten(first.prompts.prompts[row].text, SHOWN_PROMPT),
        [
            Answer(
                name,
                judged.verdicts[row].answer_class.value.replace("_", " "),
                shorten(judged.answers[row].strip(), limit) or "(nothing)",
            )
            for name, judged in models
        ],
    )


def _changed_first(before: JudgedSet, after: JudgedSet) -> list[int]:
    """Return all rows: gained and lost ones in turn, then others whose class changed, then the rest."""
    rows = range(len(before.outcomes))
    gained = [i for i in rows if after.outcomes[i] and not before.outcomes[i]]
    lost = [i for i in rows if before.outcomes[i] and not after.outcomes[i]]
    first = [i for pair in zip_longest(gained, lost) for i in pair if i is not None]
    moved = [i for i in rows if before.verdicts[i].answer_class is not after.verdicts[i].answer_class]
    return list(dict.fromkeys([*first, *moved, *rows]))


def _done(judged: JudgedSet) -> str:
    return "Refused" if judged.prompt_class is PromptClass.HARMFUL else "Complied with"
