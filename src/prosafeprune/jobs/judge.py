"""``judge``: the verdicts of a refusal judge on answers made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.judge.agreement import Agreement, agreement, label_refuses
from prosafeprune.judge.answers_file import check_verdicts_file, read_answers, write_verdicts
from prosafeprune.judge.judging import judge_in_chunks
from prosafeprune.judge.registry import make_judge
from prosafeprune.judge.verdict import Exchange, Verdict
from prosafeprune.progress import Reporter
from prosafeprune.requests.judging import JudgeOptions


@dataclass(frozen=True)
class JudgedFile:
    """The answers of a file with the verdicts of one judge."""

    judge: str
    """Name and version of the judge."""
    rows: Sequence[Mapping[str, Any]]
    exchanges: Sequence[Exchange]
    verdicts: Sequence[Verdict]
    agreement: Agreement | None
    """With people's labels; None without labels."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of answers of each class, most frequent first."""
        return dict(Counter(verdict.answer_class.value for verdict in self.verdicts).most_common())


def judge_file(
    answers: Path, settings: JudgeOptions, labels: str | None, output: Path | None, overwrite: bool, reporter: Reporter
) -> JudgedFile:
    """Judge a file's answers, compare with the labels in field ``labels``, and write rows with verdicts to ``output``.

    Raises:
        InputError: the file, a label, the output or the judge cannot be used.
    """
    exchanges, rows = read_answers(answers, *([labels] if labels else []))
    refuses = [label_refuses(row[labels]) for row in rows] if labels else None
    if output is not None:
        check_verdicts_file(output, overwrite)
    judge = make_judge(settings, reporter)
    with reporter.stage(f"Judging with {judge.name}", len(exchanges)) as advance:
        verdicts = judge_in_chunks(judge, exchanges, advance)
    if output is not None:
        write_verdicts(output, rows, verdicts)
    agreed = agreement(verdicts, refuses) if refuses is not None else None
    return JudgedFile(judge.name, rows, exchanges, verdicts, agreed)
