"""From a log file to the pages, memory does not grow with the log."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import prosafeprune
from prosafeprune.jobs import mine_prompts
from prosafeprune.judges.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.traffic import log_values

WORDS = 12
SYSTEM = "Be brief. " * 60


class RefusesAll:
    """A judge that takes no memory."""

    name = "refuses all"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        return [Verdict(AnswerClass.FULL_REFUSAL, "")] * len(exchanges)


def conversations(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        prompt = " ".join(f"word{number * WORDS + place}" for place in range(WORDS))
        said = [("system", SYSTEM), ("user", prompt), ("assistant", "No, sorry."), ("user", f"And {number}?")]
        messages = [{"role": role, "content": text} for role, text in [*said, ("assistant", "I cannot help.")]]
        yield {"messages": messages}


def write_lines(path: Path, count: int) -> None:
    with path.open("w") as stream:
        stream.writelines(json.dumps(entry) + "\n" for entry in conversations(count))


def write_list(path: Path, count: int) -> None:
    with path.open("w") as stream:
        stream.write("[\n")
        stream.writelines(
            json.dumps(entry) + ("\n]" if at == count else ",\n") for at, entry in enumerate(conversations(count), 1)
        )


def write_table(path: Path, count: int) -> None:
    with path.open("w", newline="") as stream:
        rows = ([SYSTEM, entry["messages"][1]["content"], "I cannot help."] for entry in conversations(count))
        csv.writer(stream).writerows([["system", "prompt", "answer"], *rows])


FORMATS: dict[str, Callable[[Path, int], None]] = {"jsonl": write_lines, "json": write_list, "csv": write_table}


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS)
def test_the_peak_does_not_grow_with_the_log(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine_prompts, "make_judge", lambda *_: RefusesAll())
    monkeypatch.setattr(mine_prompts, "CHUNK", 16)
    monkeypatch.setattr(log_values, "PIECE", 10_000)
    sizes, peaks = (500, 150, 750), []  # the first one imports all that is needed, and fills caches
    for count in sizes:
        log = tmp_path / f"log-{count}.{kind}"
        FORMATS[kind](log, count)
        tracemalloc.start()
        found = prosafeprune.mine_prompts(log, tmp_path / f"mined-{count}", limit=5, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.record["candidates"] == 5
        assert found.record["turns"] >= count
    grown = (tmp_path / f"log-750.{kind}").stat().st_size - (tmp_path / f"log-150.{kind}").stat().st_size
    assert grown > 400_000
    assert peaks[2] - peaks[1] < grown / 3  # caches differ by some 100 kB between runs
