"""Judging answers from elsewhere: by one judge, against labels, or by two judges side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.judges.agreement import Agreement, JudgesCompared, agreement, compare_judges, read_label
from prosafeprune.judges.answers_file import (
    DEFAULT_FIELDS,
    AnswerFields,
    check_verdicts_file,
    read_answers,
    sample_rows,
    sheet_files,
    with_verdict,
    write_sheet,
    write_verdicts,
)
from prosafeprune.judges.builtin import unmeasured_languages
from prosafeprune.judges.judging import judge_in_chunks
from prosafeprune.judges.registry import make_judge
from prosafeprune.judges.verdict import Exchange, Verdict
from prosafeprune.progress import Reporter
from prosafeprune.report.confusion_grid import confusion_grid
from prosafeprune.report.grid import Grid
from prosafeprune.report.judges_page import differing_grid, judges_page
from prosafeprune.report.page import write_page
from prosafeprune.report.rate_figure import counts_figure
from prosafeprune.report.result_view import ResultView
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.parsing import validate_settings


@dataclass(frozen=True, repr=False)
class JudgedFile(ResultView):
    """A file's answers with the verdicts of one judge."""

    judge: str
    rows_read: Sequence[Mapping[str, Any]]
    """The rows of the file."""
    verdicts: Sequence[Verdict]
    agreement: Agreement | None
    """With the labels, where there are any."""

    def summary(self) -> str:
        """Return how many answers are of each class, and the judge."""
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items())
        return f"{len(self.verdicts)} answers judged by {self.judge}: {counts}"

    def grids(self) -> Sequence[Grid]:
        """Return the answers of each class and, where there are labels, the verdicts against them."""
        total = len(self.verdicts)
        rows = [
            [name.replace("_", " "), str(count), f"{100 * count / total:.1f}"] for name, count in self.counts.items()
        ]
        grids = [Grid(f"{total} answers judged by {self.judge}", ["class", "answers", "%"], rows)]
        return grids if self.agreement is None else [*grids, confusion_grid(self.agreement)]

    def rows(self) -> list[dict[str, Any]]:
        """Return each row of the file with its verdict."""
        return [with_verdict(row, verdict) for row, verdict in zip(self.rows_read, self.verdicts, strict=True)]

    def plot(self) -> Figure:
        """Return how many answers are of each class."""
        return counts_figure(self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """Answers by class, the most frequent first."""
        return dict(Counter(verdict.answer_class.value for verdict in self.verdicts).most_common())

    @property
    def unmeasured_languages(self) -> str:
        """A warning of answers in languages that the built-in judge was not measured in; empty without any."""
        return unmeasured_languages(self.verdicts)


@dataclass(frozen=True)
class ComparedFile:
    """A file's answers with the verdicts of two judges."""

    compared: JudgesCompared
    exchanges: Sequence[Exchange]
    first: JudgedFile
    second: JudgedFile

    def differing(self, limit: int) -> Grid:
        """Return the first answers that one judge calls a refusal and the other does not, cut short."""
        first, second = ((one.judge, one.verdicts) for one in (self.first, self.second))
        return differing_grid(self.exchanges, first, second, limit)


def judge_file(
    answers: Path,
    settings: JudgeOptions,
    labels: str | None,
    output: Path | None,
    overwrite: bool,
    reporter: Reporter,
    names: AnswerFields = DEFAULT_FIELDS,
) -> JudgedFile:
    """Judge a file's answers, compare with the labels in field ``labels``, and write rows with verdicts to ``output``.

    ``names`` are the fields of prompts and completions in the file.

    Raises:
        InputError: the file, a label or the output cannot be used, or the judge fails.
    """
    exchanges, rows = read_answers(answers, labels, names)
    given = [read_label(row[labels]) for row in rows] if labels else None
    if output is not None:
        check_verdicts_file(output, overwrite, answers)
    with claimed(output) if output is not None else nullcontext():
        name, verdicts = _ask(settings, exchanges, reporter)
        if output is not None:
            write_verdicts(output, rows, verdicts)
    return JudgedFile(name, rows, verdicts, agreement(verdicts, given) if given is not None else None)


def compare_on_file(
    answers: Path,
    settings: JudgeOptions,
    judges: str,
    output: Path | None,
    overwrite: bool,
    reporter: Reporter,
    names: AnswerFields = DEFAULT_FIELDS,
) -> ComparedFile:
    """Let two judges judge a file's answers; write a page with those on which they differ to ``output``.

    Args:
        settings: of both judges; an endpoint or a model goes to the one that can use it.
        judges: two of them, separated by a comma; ``NAME=MODEL`` gives one its own model.
        output: an .html file to write.
        names: of the fields of prompts and completions in the file.

    Raises:
        InputError: the file, the judges or the output cannot be used, or a judge fails.
    """
    asked = [part.strip() for part in judges.split(",")]
    if len(asked) != 2 or not all(asked):
        raise InputError(f"--compare-judges {judges}: name two judges, such as builtin,wildguard.")
    if output is not None:
        check_verdicts_file(output, overwrite, answers)
    exchanges, rows = read_answers(answers, names=names)
    both = [_settings_of(name, settings) for name in asked]
    first, second = (
        JudgedFile(name, rows, verdicts, None)
        for name, verdicts in (_ask(options, exchanges, reporter) for options in both)
    )
    compared = compare_judges(first.verdicts, second.verdicts)
    if output is not None:
        page = judges_page(compared, exchanges, (first.judge, first.verdicts), (second.judge, second.verdicts))
        write_page(page, output)
    return ComparedFile(compared, exchanges, first, second)


def write_label_sheet(
    answers: Path, count: int, output: Path, overwrite: bool, seed: int, names: AnswerFields = DEFAULT_FIELDS
) -> tuple[Path, Path]:
    """Write a sheet of ``count`` answers to label by hand; return the CSV file and the page.

    Raises:
        InputError: the answers cannot be read or the sheet cannot be written.
    """
    if count < 1:
        raise InputError("--sample: give a number of at least 1.")
    if not output.name:
        raise InputError(f"{output}: is a folder. Name a file.")
    for file in sheet_files(output):
        check_verdicts_file(file, overwrite, answers)
    _, rows = read_answers(answers, names=names)
    return write_sheet(output, sample_rows(rows, count, seed))


def _settings_of(name: str, settings: JudgeOptions) -> JudgeOptions:
    judge, _, model = name.partition("=")
    given = settings.model_dump() | {"judge": judge, "safety": "refusal"}
    if model:
        given["judge_model"] = model
    if judge == "builtin":
        given |= {"judge_endpoint": None, "judge_model": None, "judge_device": None}
    if judge == "classifier":
        given["judge_endpoint"] = None
    if ":" in judge:  # of the user's own, which takes neither
        given |= {"judge_endpoint": None, "judge_model": None, "judge_device": None}
    # Options of one judge must not be rejected by the other.
    given["judge_device" if given["judge_endpoint"] else "judge_concurrency"] = None
    return validate_settings(JudgeOptions, given)


def _ask(settings: JudgeOptions, exchanges: Sequence[Exchange], reporter: Reporter) -> tuple[str, list[Verdict]]:
    chosen = make_judge(settings, reporter)
    with reporter.stage(f"Judging with {chosen.name}", len(exchanges)) as advance:
        return chosen.name, judge_in_chunks(chosen, exchanges, advance)
