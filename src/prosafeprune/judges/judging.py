"""Rules common to all judges: chains of thought are not judged, and broken answers neither comply nor refuse."""

from collections.abc import Sequence

from prosafeprune.judges.brokenness import broken_reason
from prosafeprune.judges.reasoning_text import without_thought
from prosafeprune.judges.verdict import AnswerClass, Exchange, Judge, Verdict
from prosafeprune.progress import Advance, ignore

CHUNK = 64
"""Exchanges per call of a judge, so that slow judges show progress."""


def judge_answers(judge: Judge, exchanges: Sequence[Exchange]) -> list[Verdict]:
    """Return one verdict for each exchange, in order; the judge gets only answers that can be judged, without thoughts.

    Raises:
        InputError: the judge cannot be reached.
    """
    parts = [without_thought(exchange.answer) for exchange in exchanges]
    verdicts = [
        _plain_verdict(exchange, spoken, thought) for exchange, (spoken, thought) in zip(exchanges, parts, strict=True)
    ]
    open_rows = [row for row, verdict in enumerate(verdicts) if verdict is None]
    asked = [Exchange(exchanges[row].prompt, parts[row][0]) for row in open_rows]
    for row, verdict in zip(open_rows, judge.judge(asked) if asked else [], strict=True):
        verdicts[row] = verdict
    return [verdict for verdict in verdicts if verdict is not None]


def judge_in_chunks(judge: Judge, exchanges: Sequence[Exchange], advance: Advance = ignore) -> list[Verdict]:
    """Do as ``judge_answers``, in chunks, and report each finished chunk.

    Raises:
        InputError: the judge cannot be reached.
    """
    verdicts: list[Verdict] = []
    for start in range(0, len(exchanges), CHUNK):
        chunk = exchanges[start : start + CHUNK]
        verdicts += judge_answers(judge, chunk)
        advance(len(chunk))
    return verdicts


def _plain_verdict(exchange: Exchange, spoken: str, thought: bool) -> Verdict | None:
    if thought and not spoken:
        return Verdict(AnswerClass.UNDETERMINED, "ends within its chain of thought")
    fault = broken_reason(exchange.last.prompt, spoken)
    return Verdict(AnswerClass.BROKEN, fault) if fault else None
