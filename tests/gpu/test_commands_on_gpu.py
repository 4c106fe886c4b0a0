"""The commands from end to end on a GPU, in float32, against the same on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make, Run
from helpers.prune_runs import prune
from safetensors.torch import load_file

import prosafeprune

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "gpt2", "mixtral"])
def test_prune(architecture: str, device: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint(architecture)
    expected = prune(source, tmp_path / "cpu", prompt_files)
    found = prune(source, tmp_path / "gpu", prompt_files, device=device)
    assert found.record.edited_tensors == expected.record.edited_tensors
    before = load_file(source / "model.safetensors")
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("cpu", "gpu")]
    changed = 0
    for name, original in before.items():
        torch.testing.assert_close(weights[1][name], weights[0][name], atol=2e-4, rtol=1e-3)
        changed += not torch.equal(weights[1][name], original)
    assert changed == len(expected.record.edited_tensors)


@pytest.mark.usefixtures("few_prompts")
def test_search(device: str, run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path) -> None:
    points = []
    for name in ("cpu", device):
        output = tmp_path / str(len(points))
        run.ok("search", checkpoint("llama"), "-o", output, *search_options, "--device", name)
        record = json.loads((output / "search.json").read_text())
        assert record["trials"] == 4
        points.append(sorted(json.dumps(point["plan"]) for point in record["points"] if point["measured"]))
    assert points[1] == points[0]


def test_low_memory(device: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    weights = []
    for number, name in enumerate(("cpu", device)):
        output = tmp_path / str(number)
        settings = {"layers": "1-2", "rank": 4, "device": name, **prompt_files}
        prosafeprune.prune_unmeasured(checkpoint("llama"), output, progress=False, **settings)
        weights.append(load_file(output / "model.safetensors"))
    before = load_file(checkpoint("llama") / "model.safetensors")
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, atol=2e-4, rtol=1e-3)
    assert any(not torch.equal(weights[1][name], original) for name, original in before.items())
