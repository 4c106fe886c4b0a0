"""The page of two judges: their agreement, and the answers on which they differ."""

from collections.abc import Sequence

from prosafeprune.judges.agreement import JudgesCompared
from prosafeprune.judges.verdict import Exchange, Verdict
from prosafeprune.prompts.conversation import transcript
from prosafeprune.report import page as blocks
from prosafeprune.report.grid import Grid

MOST_SHOWN = 200
"""Maximum answers on the page."""


def judges_page(
    compared: JudgesCompared,
    exchanges: Sequence[Exchange],
    first: tuple[str, Sequence[Verdict]],
    second: tuple[str, Sequence[Verdict]],
) -> blocks.Page:
    """Return the page of a comparison; each judge comes with its name and its verdicts, in the exchanges' order."""
    (name, verdicts), (other, others) = first, second
    total = len(exchanges)
    rows = [row for row in range(total) if verdicts[row].answer_class.refuses != others[row].answer_class.refuses]
    shown = rows[:MOST_SHOWN]
    table = Grid(
        "Refusals",
        ["", f"{other}: refusal", f"{other}: no refusal"],
        [
            [f"{name}: refusal", str(compared.both), str(compared.only_first)],
            [f"{name}: no refusal", str(compared.only_second), str(compared.neither)],
        ],
    )
    differing = blocks.Examples([_shown(exchanges[row], (name, verdicts[row]), (other, others[row])) for row in shown])
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
            blocks.Section(f"The {len(rows)} answers on which they differ", [*more, differing]),
        ],
    )


def _shown(exchange: Exchange, first: tuple[str, Verdict], second: tuple[str, Verdict]) -> blocks.AnsweredPrompt:
    (name, verdict), (other, another) = first, second
    words = f"{verdict.answer_class.in_words}, {another.answer_class.in_words}"
    reasons = f"{name}: {verdict.reason}. {other}: {another.reason}."
    return blocks.AnsweredPrompt(
        transcript(exchange.prompt),
        [blocks.ExampleAnswer("answer", words, exchange.answer), blocks.ExampleAnswer("reasons", "", reasons)],
    )
