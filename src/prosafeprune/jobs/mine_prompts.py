"""``prompts mine``: from chat logs to refused requests that a person can review."""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from prosafeprune.errors import InputError
from prosafeprune.files.staging import RECORD_FILE, claimed_output, require_outside, staged_folder, write_whole
from prosafeprune.judges.builtin import in_unmeasured_language, language_warning
from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.registry import make_judge
from prosafeprune.judges.verdict import AnswerClass, Exchange, Judge
from prosafeprune.progress import Advance, Reporter
from prosafeprune.prompts.conversation import as_prompt
from prosafeprune.report.grid import Grid
from prosafeprune.report.rate_figure import counts_figure
from prosafeprune.report.result_view import ResultView
from prosafeprune.report.review_page import review_pages
from prosafeprune.requests.prompt_tools import MineRequest
from prosafeprune.traffic.candidates import Candidates, write_candidates
from prosafeprune.traffic.log_files import find_logs, read_turns
from prosafeprune.traffic.masked_turns import Masking
from prosafeprune.traffic.turns import LoggedTurn

CANDIDATES, PAGE, REVIEWED = "candidates.jsonl", "review.html", "reviewed.jsonl"
CHUNK = 256
"""Turns that are judged at a time."""
CHUNK_CHARACTERS = 4_000_000
"""Maximum characters of turns that are judged at a time, with the conversation before each."""


@dataclass
class Tally:
    """What was found in the logs so far."""

    turns: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """Answers by class."""
    unmeasured: int = 0
    """Answers in languages that the built-in judge was not measured in."""
    masked: Counter[str] = field(default_factory=Counter)
    """Personal data in requests and answers, by kind."""
    skipped: int = 0
    first_skipped: str = ""
    """Where the first entry is that could not be read, and why."""


@dataclass(frozen=True, repr=False)
class MineResult(ResultView):
    """What ``mine`` found and wrote."""

    record: dict[str, Any]
    """Contents of ``prosafeprune.json`` in the folder."""
    output: Path

    def summary(self) -> str:
        """Return the numbers of turns, refusals and candidates."""
        found = self.record
        return f"{found['turns']} turns, {found['refused']} refused, {found['candidates']} candidates in {self.output}"

    def grids(self) -> Sequence[Grid]:
        """Return the counts as a table."""
        return [
            Grid(
                "Refused requests in logs", ["", "number"], [[row["what"], f"{row['number']:,}"] for row in self.rows()]
            )
        ]

    def plot(self) -> Figure:
        """Return how many answers are of each class as bars."""
        return counts_figure(self.record["classes"])

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each count."""
        found = self.record
        counts = {"turns": found["turns"], **{f"  {name.replace('_', ' ')}": n for name, n in found["classes"].items()}}
        counts |= {"refused": found["refused"], "  repeats of a candidate": found["repeats"]}
        counts |= {"  outside the sample": found["outside_sample"], "candidates": found["candidates"]}
        counts |= {f"masked: {name}": n for name, n in found["masked"].items()}
        return [{"what": name, "number": n} for name, n in {**counts, "entries skipped": found["skipped"]}.items()]


def run_mine(
    logs: Sequence[Path], request: MineRequest, output: Path, *, overwrite: bool, reporter: Reporter
) -> MineResult:
    """Write the refused requests of logs as ``candidates.jsonl`` and ``review.html`` into ``output``.

    Memory does not grow with the logs. What does not fit on one page to review is on further ones.

    Raises:
        InputError: a log, the output or the judge cannot be used, or no turn can be read.
    """
    files = find_logs(list(logs))
    for file in files:
        require_outside(output.resolve(), file.resolve(), "log's")
    with claimed_output(output, overwrite):
        judge = make_judge(request, reporter)
        with staged_folder(output, overwrite) as staging, tempfile.TemporaryFile() as spool:
            tally, candidates = Tally(), Candidates(request.limit, spool)
            _fill(candidates, tally, files, request, judge, reporter)
            if not tally.turns:
                reason = f" ({tally.first_skipped})" if tally.skipped else ""
                raise InputError(
                    f"{files[0]}: no answered user turn was found{reason}. See the formats in docs/your_traffic.md."
                )
            write_candidates(staging / CANDIDATES, candidates)
            pages = _write_pages(staging, candidates)
            record = {**_record(candidates, tally, files, request, judge), "review_pages": pages}
            write_whole(staging / RECORD_FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    if tally.skipped:
        reporter.warning(f"{tally.skipped} entries could not be read and are left out, such as {tally.first_skipped}.")
    if warning := language_warning(tally.unmeasured, tally.turns):
        reporter.warning(warning)
    return MineResult(record, output)


def _write_pages(folder: Path, candidates: Candidates) -> int:
    """Write the pages to review; return how many."""
    pages = 0
    for name, page in review_pages(candidates.rows(), PAGE, REVIEWED):
        write_whole(folder / name, page)
        pages += 1
    return pages


def _fill(
    candidates: Candidates, tally: Tally, files: Sequence[Path], request: MineRequest, judge: Judge, reporter: Reporter
) -> None:
    size = math.ceil(sum(file.stat().st_size for file in files) / 1e6)

    def status() -> str:
        return f"{tally.turns:,} turns, {len(candidates):,} candidates"

    with reporter.stage("Megabytes of logs", size, status) as advance:
        for chunk in _chunks(_turns(files, request, tally, advance)):
            verdicts = judge_answers(judge, [Exchange(as_prompt(turn.messages), turn.answer) for turn in chunk])
            for turn, verdict in zip(chunk, verdicts, strict=True):
                tally.classes[verdict.answer_class.value] += 1
                tally.unmeasured += in_unmeasured_language(verdict)
                if verdict.answer_class.refuses:
                    candidates.add(turn, verdict)


def _chunks(turns: Iterator[LoggedTurn]) -> Iterator[list[LoggedTurn]]:
    """Yield turns in lists that are bounded in length and in characters."""
    chunk: list[LoggedTurn] = []
    size = 0
    for turn in turns:
        chunk.append(turn)
        size += len(turn.answer) + sum(len(text) for _, text in turn.messages)
        if len(chunk) == CHUNK or size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _turns(files: Sequence[Path], request: MineRequest, tally: Tally, advance: Advance) -> Iterator[LoggedTurn]:
    """Yield all turns; personal data is masked here, so that no judge sees it."""
    masking = Masking()
    for file in files:
        for found in read_turns(file, request.prompt_field, request.answer_field, advance):
            if not isinstance(found, LoggedTurn):
                tally.skipped += 1
                tally.first_skipped = tally.first_skipped or f"{file}, {found[0]}: {found[1]}"
                continue
            tally.turns += 1
            if request.keep_personal:
                yield found
                continue
            masked, kinds = masking.of(found)
            tally.masked.update(kinds)
            yield masked


def _record(
    candidates: Candidates, tally: Tally, files: Sequence[Path], request: MineRequest, judge: Judge
) -> dict[str, Any]:
    refused = sum(count for name, count in tally.classes.items() if AnswerClass(name).refuses)
    return {
        "command": "prompts mine",
        "judge": judge.name,
        "logs": [file.name for file in files],
        "settings": request.model_dump(mode="json", exclude={"judge", "judge_endpoint"}),
        "turns": tally.turns,
        "classes": dict(tally.classes.most_common()),
        "unmeasured_languages": tally.unmeasured,
        "refused": refused,
        "repeats": refused - candidates.dropped - len(candidates),
        "outside_sample": candidates.dropped,
        "candidates": len(candidates),
        "masked": dict(sorted(tally.masked.items())),
        "skipped": tally.skipped,
    }
