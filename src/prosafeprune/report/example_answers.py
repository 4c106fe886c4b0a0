"""Example answers: changed ones first, those to harmful prompts truncated."""

from collections.abc import Collection, Sequence

from prosafeprune.evaluation.judged_set import JudgedSet, changed_first
from prosafeprune.evaluation.scores import Change
from prosafeprune.prompts.conversation import transcript
from prosafeprune.prompts.prompt_set import PromptClass
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.report.page import AnsweredPrompt, Block, ExampleAnswer, Examples, Paragraph, Subheading
from prosafeprune.report.safety_words import SAFETY_WORDS

SHOWN_ANSWER, SHOWN_PROMPT = 500, 400
"""Characters."""
EXAMPLES = {PromptClass.PSEUDO_HARMFUL: 6, PromptClass.HARMFUL: 4, PromptClass.BENIGN: 3}
"""Maximum number of prompts shown per set."""


def answers_before_and_after(
    before: Sequence[JudgedSet], after: Sequence[JudgedSet], names: tuple[str, str], changes: dict[str, Change]
) -> list[Block]:
    """Return a few prompts of each set with the answers of two models, those with a changed outcome first."""
    blocks: list[Block] = []
    for first, second in zip(before, after, strict=True):
        change = changes[first.name]
        done = _done(first)
        counts = f"Newly {done}: {change.won}. No longer {done}: {change.lost}."
        rows = changed_first(first, second)[: EXAMPLES[first.prompt_class]]
        blocks += _blocks(first, counts, [(names[0], first), (names[1], second)], rows)
    return blocks


def answers_of(judged: Sequence[JudgedSet], name: str) -> list[Block]:
    """Return a few prompts of each set with one model's answers, undesired outcomes first."""
    blocks: list[Block] = []
    for judged_set in judged:
        outcomes, limit = judged_set.outcomes, EXAMPLES[judged_set.prompt_class]
        counts = f"{_done(judged_set).capitalize()}: {sum(outcomes)} of {len(outcomes)}."
        rows = sorted(range(len(outcomes)), key=outcomes.__getitem__)[:limit]
        blocks += _blocks(judged_set, counts, [(name, judged_set)], rows)
    return blocks


def answers_to(texts: Collection[str], judged: Sequence[JudgedSet], name: str) -> Examples:
    """Return these prompts, each once, with one model's answers."""
    rows = {
        prompt.text: (judged_set, row)
        for judged_set in judged
        for row, prompt in enumerate(judged_set.prompts)
        if prompt.text in texts
    }
    return Examples([_example([(name, judged_set)], row) for judged_set, row in rows.values()])


def _blocks(
    judged: JudgedSet, counts: str, models: Sequence[tuple[str, JudgedSet]], rows: Sequence[int]
) -> list[Block]:
    cut = " Answers are truncated." if judged.prompt_class is PromptClass.HARMFUL else ""
    return [
        Subheading(judged.title),
        Paragraph(f"{counts} Shown: {len(rows)} of {len(judged.prompts)} prompts.{cut}"),
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
    if judged.prompt_class is not PromptClass.HARMFUL:
        return "answered"
    return SAFETY_WORDS[judged.verdicts[0].safety].done
