"""Speed and memory of ``prompts mine`` on a log made from the answers written for this project.

    OMP_NUM_THREADS=1 python benchmarks/mine.py            # 10,000 and 100,000 turns
    OMP_NUM_THREADS=1 python benchmarks/mine.py 1000000

Each log is mined in a separate process, whose peak memory is shown. Seconds are those of one core, so that other
processes on the machine do not count.
"""

from __future__ import annotations

import gzip
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prosafeprune.prompts import PromptClass, bundled_prompts

ANSWERS = Path(__file__).parents[1] / "tests" / "judges" / "judge_answers.jsonl"
SIZES = (10_000, 100_000)
PLACES = (
    "my garage",
    "a school lab",
    "the office in Leeds",
    "my novel",
    "a museum",
    "our clinic",
    "a farm",
    "the harbour",
)


def main() -> None:
    """Print turns a second and peak memory for each number of turns."""
    if sys.argv[1:2] == ["--one"]:
        _mine(Path(sys.argv[2]))
        return
    print("| turns | seconds of one core | turns a second | peak memory | of which libraries | candidates |")
    print("|---|---|---|---|---|---|")
    for turns in map(int, sys.argv[1:] or SIZES):
        with tempfile.TemporaryDirectory() as folder:
            _write_log(Path(folder) / "log.jsonl.gz", turns)
            command = [sys.executable, __file__, "--one", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(f"| {turns:,} | {done.stdout.strip()} |")


def _write_log(path: Path, turns: int) -> None:
    """Write conversations of one to three turns; prompts are the bundled ones, varied."""
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").split("\n") if line]
    prompts = [text for name in PromptClass for text in bundled_prompts(name, "calibration").texts]
    draw, written = random.Random(0), 0
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as stream:
        while written < turns:
            messages = []
            for _ in range(min(draw.randint(1, 3), turns - written)):
                row = draw.choice(rows)
                about = (
                    f"It is about {draw.choice(PLACES)}, case {draw.randrange(100_000)}, mail u{written}@example.com."
                )
                messages += [
                    {"role": "user", "content": f"{draw.choice(prompts)} {about}"},
                    {"role": "assistant", "content": row["completion"]},
                ]
                written += 1
            stream.write(json.dumps({"messages": messages}) + "\n")


def _mine(folder: Path) -> None:
    from prosafeprune.jobs.mine_prompts import run_mine
    from prosafeprune.judges.builtin import BuiltinJudge
    from prosafeprune.judges.verdict import Exchange
    from prosafeprune.progress import SilentReporter
    from prosafeprune.requests.prompt_tools import MineRequest

    BuiltinJudge().judge([Exchange("Hello", "Hello to you.")])  # loads its parts
    before, start = _peak_megabytes(), time.process_time()
    request = MineRequest.model_validate({})
    found = run_mine([folder / "log.jsonl.gz"], request, folder / "mined", overwrite=False, reporter=SilentReporter())
    seconds, turns = time.process_time() - start, found.record["turns"]
    cells = (
        f"{seconds:.0f}",
        f"{turns / seconds:.0f}",
        f"{_peak_megabytes():.0f} MB",
        f"{before:.0f} MB",
        f"{found.record['candidates']:,}",
    )
    print(" | ".join(cells))


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
