"""The estimate of a run's memory: by hand, and against what runs took."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.estimates import job
from helpers.fixture_types import Make

from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.setup.model_size import ModelSize
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.run_memory import (
    ANSWERS_AT_ONCE,
    COPIES_OF_LOGITS,
    HALF_BYTES,
    LIBRARY_BYTES,
    memory_needed,
)


def test_memory_is_weights_and_the_inputs_of_the_planned_layers(checkpoint: Make) -> None:
    folder = checkpoint("llama")
    config = json.loads((folder / "config.json").read_text())
    size = ModelSize.of(folder, config)
    assert size.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert (size.layers, size.hidden, size.inner) == (3, config["hidden_size"], config["intermediate_size"])
    made = job(folder, layers="0-1")
    prompts = sum(map(len, made.calibration.values()))
    inputs = 4 * prompts * 2 * (3 * config["hidden_size"] + config["intermediate_size"])
    logits = HALF_BYTES * (made.recipe.max_new_tokens + 1) * config["vocab_size"]
    on_gpu = 2 * size.weight_bytes + inputs + ANSWERS_AT_ONCE[True] * logits
    assert memory_needed(made, given_plan(made.recipe), size, 2.0, on_gpu=True) == on_gpu
    without = memory_needed(made, given_plan(made.recipe), size, 2.0)
    running = 2 * size.weight_bytes + inputs + COPIES_OF_LOGITS[False] * ANSWERS_AT_ONCE[False] * logits
    assert without == LIBRARY_BYTES + running
    large = replace(size, weight_bytes=10**12)  # its file's pages take more than all that follows
    assert memory_needed(made, given_plan(made.recipe), large, 2.0) == 3e12 + LIBRARY_BYTES
    assert memory_needed(made, None, ModelSize.of(folder, {})) is None


MEASURED = [
    (ModelSize(1_260_367_152, 24, 896, 4864, 151_936), "10-13", False, 4.5e9),
    (ModelSize(1_260_367_152, 24, 896, 4864, 151_936), "10-13", True, 7.6e9),
    (ModelSize(3_554_214_416, 28, 1536, 8960, 151_936), "14-19", True, 13.6e9),
]
"""Models in bfloat16, layers, whether they were polished, and the peak memory of ``prune`` on two cores."""


@pytest.mark.parametrize(("size", "layers", "polished", "took"), MEASURED)
def test_memory_agrees_with_what_runs_took(
    size: ModelSize, layers: str, polished: bool, took: float, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.setup.prepare.require_layers_of_config", lambda *_: None)
    made = job(checkpoint("llama"), layers=layers, polish=polished, max_new_tokens=48)
    longest = (Prompt("x" * 682),)  # of the bundled prompts, 1,500 of which calibrate
    sets = {one: PromptSet(one, "as bundled", longest * 500) for one in PromptClass}
    made = replace(made, calibration=sets)
    assert memory_needed(made, given_plan(made.recipe), size) == pytest.approx(took, rel=0.1)
