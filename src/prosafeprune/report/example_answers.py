"""Example answers: changed ones first, those to harmful prompts truncated."""

from collections.abc import Sequence

from prosafeprune.evaluation.judged_set import JudgedSet, changed_first
from prosafeprune.evaluation.scores import Change
from prosafeprune.prompts.conversation import transcript
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.report.page import AnsweredPrompt, Block, ExampleAnswer, Examples, Paragraph, Subheading

SHOWN_ANSWER, SHOWN_PROMPT = 500, 400
"""Characters."""
EXAMPLES = {PromptClass.PSEUDO_HARMFUL: 6, PromptClass.HARMFUL: 4, PromptClass.BENIGN: 3}
"""Maximum number of prompts shown per set."""


def answers_before_and_after(
    before: Sequence[JudgedSet], after: Sequence[JudgedSet], names: tuple[str, str], changes: dict[str, Change]
) -> list[Block]:
    """Return a few prompts of each set with the answers of two models, those with a changed outcome first."""
    blocks: list[Block] = []
    for one, two in zip(before, after, strict=True):
        change = changes[one.name]
        done = _done(one)
        counts = f"Newly {done}: {change.won}. No longer {done}: {change.lost}."
        rows = changed_first(one, two)[: EXAMPLES[one.prompt_class]]
        blocks += _blocks(one, counts, [(names[0], one), (names[1], two)], rows)
    return blocks


def answers_of(judged: Sequence[JudgedSet], name: str) -> list[Block]:
    """Return a few prompts of each set with one model's answers, undesired outcomes first."""
    blocks: list[Block] = []
    for one in judged:
        counts = f"{_done(one).capitalize()}: {sum(one.outcomes)} of {len(one.outcomes)}."
        rows = sorted(range(len(one.outcomes)), key=lambda i: one.outcomes[i])[: EXAMPLES[one.prompt_class]]
        blocks += _blocks(one, counts, [(name, one)], rows)
    return blocks


def _blocks(one: JudgedSet, counts: str, models: Sequence[tuple[str, JudgedSet]], rows: Sequence[int]) -> list[Block]:
    cut = " Answers are truncated." if one.prompt_class is PromptClass.HARMFUL else ""
    return [
        Subheading(one.title),
        Paragraph(f"{counts} Shown: {len(rows)} of {len(one.prompts)} prompts.{cut}"),
        Examples([_example(models, row) for row in rows]),
    ]


def _example(models: Sequence[tuple[str, JudgedSet]], row: int) -> AnsweredPrompt:
    first = models[0][1]
    limit = HARMFUL_ANSWER_CHARACTERS if first.prompt_class is PromptClass.HARMFUL else SHOWN_ANSWER
    return AnsweredPrompt(
        transcript(first.prompts.prompts[row].text, SHOWN_PROMPT),
        [
            ExampleAnswer(
                name,
                judged.verdicts[row].answer_class.in_words,
                shorten(judged.answers[row].strip(), limit) or "(empty)",
            )
            for name, judged in models
        ],
    )


def _done(judged: JudgedSet) -> str:
    return "refused" if judged.prompt_class is PromptClass.HARMFUL else "answered"
