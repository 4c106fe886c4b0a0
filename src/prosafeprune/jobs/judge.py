"""``judge``: the verdicts of a refusal judge on answers made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.judge.agreement import Agreement, agreement, label_refuses
from prosafeprune.judge.answers_file import check_verdicts_file, read_answers, write_verdicts
from prosafeprune.judge.judging import judge_in_chunks
from prosafeprune.judge.registry import make_judge
from prosafeprune.judge.verdict import Exchange, Verdict
from prosafeprune.progress import Reporter, SilentReporter
from prosafeprune.requests.judging import JudgeOptions


@dataclass(frozen=True)
class JudgeResult:
    """The verdicts on some answers."""

    judge: str
    """Name and version of the judge."""
    verdicts: list[Verdict]
    """One for each answer, in order."""
    agreement: Agreement | None = None
    """With people's labels; None without labels."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of answers of each class, most frequent first."""
        return dict(Counter(verdict.answer_class.value for verdict in self.verdicts).most_common())


def run_judge(
    settings: JudgeOptions,
    answers: Path | Sequence[tuple[str, str]],
    output: Path | None = None,
    *,
    labels: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> JudgeResult:
    """Judge answers and, with ``output``, write each with its class and reason.

    Args:
        settings: which judge.
        answers: JSON lines file with the fields prompt and completion; or pairs of prompt and answer.
        output: file to write.
        labels: field of the file with people's labels, which the verdicts are compared with.
        overwrite: replace ``output``.
        reporter: receives progress.

    Raises:
        InputError: the answers, the labels, the output or the judge cannot be used.
    """
    reporter = reporter or SilentReporter()
    if isinstance(answers, Path):
        exchanges, rows = read_answers(answers, *([labels] if labels else []))
    elif labels:
        raise InputError("Labels are a field of a file of answers. Give a file, or leave labels out.")
    else:
        exchanges = [Exchange(prompt, answer) for prompt, answer in answers]
        rows = [{"prompt": one.prompt, "completion": one.answer} for one in exchanges]
    refuses = [label_refuses(row[labels]) for row in rows] if labels else None
    if output is not None:
        check_verdicts_file(output, overwrite)
    judge = make_judge(settings, reporter)
    with reporter.stage(f"Judging with {judge.name}", len(exchanges)) as advance:
        verdicts = judge_in_chunks(judge, exchanges, advance)
    if output is not None:
        write_verdicts(output, rows, verdicts)
    return JudgeResult(judge.name, verdicts, agreement(verdicts, refuses) if refuses is not None else None)
