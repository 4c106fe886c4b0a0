"""``benchmarks/gpu.py`` still runs with today's code: a GPU is too rare for finding out there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
def test_no_part_fails_on_a_tiny_model() -> None:
    command = [sys.executable, "gpu.py", "--tiny", "--device", "cpu", "--dtype", "float32"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=300)
    parts = json.loads(done.stdout)["shapes"]["tiny"]
    assert {"activations", "edits", "search_trial", "answers_batch_1"} <= set(parts)
    assert [name for name, part in parts.items() if "error" in part] == []
