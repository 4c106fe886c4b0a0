"""The page of two judges: their agreement, and the answers on which they differ; a table of the first of these.

A file does not say which prompts are harmful, so all answers are cut as short as those to harmful prompts.
"""

from collections.abc import Sequence

from prosafeprune.judges.agreement import JudgesCompared
from prosafeprune.judges.verdict import Exchange, Verdict
from prosafeprune.prompts.conversation import transcript
from prosafeprune.report import page as blocks
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.report.grid import Grid

MOST_SHOWN = 200
"""Maximum answers on the page."""
CUT = (
    "Answers are cut short, as those to harmful prompts always are: the file does not say which prompts are harmful. "
    "The number of an answer is that of its row in the file."
)
PROMPT_CHARACTERS = 80
"""Of a prompt in a terminal."""


def judges_page(
    compared: JudgesCompared,
    exchanges: Sequence[Exchange],
    first: tuple[str, Sequence[Verdict]],
    second: tuple[str, Sequence[Verdict]],
) -> blocks.Page:
    """Return the page of a comparison; each judge comes with its name and its verdicts, in the exchanges' order."""
    (name, verdicts), (other, others) = first, second
    total = len(exchanges)
    rows = _differing(verdicts, others)
    shown = rows[:MOST_SHOWN]
    table = Grid(
        "Refusals",
        ["", f"{other}: refusal", f"{other}: no refusal"],
        [
            [f"{name}: refusal", str(compared.both), str(compared.only_first)],
            [f"{name}: no refusal", str(compared.only_second), str(compared.neither)],
        ],
    )
    differing = blocks.Examples(
        [_shown(row, exchanges[row], (name, verdicts[row]), (other, others[row])) for row in shown]
    )
    cut = [blocks.Paragraph(CUT)] if rows else []
    more = [blocks.Paragraph(f"The first {MOST_SHOWN} of {len(rows)} are shown.")] if len(rows) > MOST_SHOWN else []
    return blocks.Page(
        title="Two judges compared",
        headline=blocks.Headline(
            blocks.Mark.NEUTRAL,
            f"{name} and {other}",
            f"They agree on {compared.agreement:.1f} % of {total} answers (Cohen's kappa {compared.kappa_in_words}).",
        ),
        sections=[
            blocks.Section("Refusal against anything else", [table]),
            blocks.Section(f"The {len(rows)} answers on which they differ", [*cut, *more, differing]),
        ],
    )


def differing_grid(
    exchanges: Sequence[Exchange],
    first: tuple[str, Sequence[Verdict]],
    second: tuple[str, Sequence[Verdict]],
    limit: int,
) -> Grid:
    """Return the first answers on which two judges differ, for a terminal."""
    (name, verdicts), (other, others) = first, second
    rows = [
        [
            _one_line(transcript(exchanges[row].prompt), PROMPT_CHARACTERS),
            _one_line(exchanges[row].answer, HARMFUL_ANSWER_CHARACTERS),
            verdicts[row].answer_class.in_words,
            others[row].answer_class.in_words,
        ]
        for row in _differing(verdicts, others)[:limit]
    ]
    return Grid("Answers on which they differ", ["prompt", "answer", name, other], rows)


def _one_line(text: str, limit: int) -> str:
    return shorten(" ".join(text.split()), limit)


def _differing(verdicts: Sequence[Verdict], others: Sequence[Verdict]) -> list[int]:
    """Return the rows that one judge calls a refusal and the other does not."""
    pairs = zip(verdicts, others, strict=True)
    return [row for row, (one, two) in enumerate(pairs) if one.answer_class.refuses != two.answer_class.refuses]


def _shown(
    row: int, exchange: Exchange, first: tuple[str, Verdict], second: tuple[str, Verdict]
) -> blocks.AnsweredPrompt:
    (name, verdict), (other, another) = first, second
    words = f"{verdict.answer_class.in_words}, {another.answer_class.in_words}"
    reasons = f"{name}: {verdict.reason}. {other}: {another.reason}."
    return blocks.AnsweredPrompt(
        transcript(exchange.prompt),
        [
            blocks.ExampleAnswer(
                f"answer {row + 1}", words, shorten(exchange.answer.strip(), HARMFUL_ANSWER_CHARACTERS)
            ),
            blocks.ExampleAnswer("reasons", "", reasons),
        ],
    )
