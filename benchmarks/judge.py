"""Speed of the built-in judge on one core, on the answers written for this project.

    OMP_NUM_THREADS=1 python benchmarks/judge.py

The held-out tables of docs/judges.md come from scripts/judge_training/heldout.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from prosafeprune.judges import Exchange, judge_answers
from prosafeprune.judges.builtin import BuiltinJudge

ANSWERS = Path(__file__).parents[1] / "tests" / "judges" / "judge_answers.jsonl"
LENGTHS = (20, 60, 160, 320)
"""Words in an answer."""
COUNT = 600
ROUNDS = 3


def main() -> None:
    """Print answers a second for answers of several lengths, the best of some rounds."""
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").split("\n") if line]
    words = " ".join(row["completion"] for row in rows).split()
    judge = BuiltinJudge()
    print("| words in an answer | answers a second |\n|---|---|")
    for length in LENGTHS:
        texts = [" ".join(words[i * 29 % len(words) :][:length]) for i in range(COUNT)]
        exchanges = [Exchange(f"How do I plan a trip to place number {i}?", text) for i, text in enumerate(texts)]
        print(f"| {length} | {COUNT / min(_seconds(judge, exchanges) for _ in range(ROUNDS)):.0f} |")


def _seconds(judge: BuiltinJudge, exchanges: list[Exchange]) -> float:
    start = time.process_time()
    judge_answers(judge, exchanges)
    return time.process_time() - start


if __name__ == "__main__":
    main()
