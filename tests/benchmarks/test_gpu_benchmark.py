"""``benchmarks/gpu.py`` still runs with today's code: a GPU is too rare for finding out there."""

import json
import subprocess
import sys
from importlib.util import find_spec
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
    if find_spec("bitsandbytes") is not None:
        assert parts["four_bit"]["matrices"] == 8 * 7


def test_parts_that_would_begin_too_late_are_not_run() -> None:
    command = [sys.executable, "gpu.py", "--tiny", "--device", "cpu", "--dtype", "float32", "--minutes", "0"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(done.stdout)["shapes"]["tiny"] == {"model": {"error": "not reached"}}
