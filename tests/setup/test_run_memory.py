"""The estimate of a run's memory: by hand, and against what runs took."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.estimates import prepared_run
from helpers.fixture_types import Make
from safetensors.torch import load_file

from prosafeprune.judges.base_model_likelihood import LOGITS_AT_ONCE
from prosafeprune.model.batches import FIRST_BATCH
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.model_size import ModelShape, ModelSize
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.run_memory import (
    COPIES_OF_LOGITS,
    HALF_BYTES,
    LIBRARY_BYTES,
    StreamedMemory,
    memory_needed,
    scoring_memory,
    streamed_memory,
)
from prosafeprune.setup.workload import tokens_of
from prosafeprune.streaming.needs import LEAST_FOR_A_BATCH, edit_bytes, row_bytes, rows_within


def test_memory_is_weights_and_the_inputs_of_the_planned_layers(checkpoint: Make) -> None:
    folder = checkpoint("llama")
    config = json.loads((folder / "config.json").read_text())
    size = ModelShape.of_folder(folder, config).size
    tensors = load_file(folder / "model.safetensors").values()
    assert size.weight_bytes == sum(tensor.nbytes for tensor in tensors)
    assert (size.layers, size.hidden, size.inner) == (3, config["hidden_size"], config["intermediate_size"])
    made = prepared_run(folder, layers="0-1")
    prompts = sum(map(len, made.calibration.values()))
    inputs = 4 * prompts * 2 * (3 * config["hidden_size"] + config["intermediate_size"])
    row = HALF_BYTES * (made.recipe.max_new_tokens + 1) * config["vocab_size"]
    on_gpu = 2 * size.weight_bytes + inputs + FIRST_BATCH["cuda"] * row
    assert memory_needed(made, given_plan(made.recipe), size, 2.0, on_gpu=True) == on_gpu
    without = memory_needed(made, given_plan(made.recipe), size, 2.0)
    running = 2 * size.weight_bytes + inputs + COPIES_OF_LOGITS["cpu, half precision"] * FIRST_BATCH["cpu"] * row
    assert without == LIBRARY_BYTES + running
    large = replace(size, weight_bytes=10**12)  # its file's pages take more than all that follows
    assert memory_needed(made, given_plan(made.recipe), large, 2.0) == 3e12 + LIBRARY_BYTES
    assert memory_needed(made, None, ModelShape.of_folder(folder, {}).size) is None


def test_logits_are_capped_unless_the_batch_is_given_or_one_answer_takes_more() -> None:
    model, tokens = ModelSize(10**9, 24, 896, 4864, 150_000), 99
    row = 4 * 100 * model.vocabulary
    copies = COPIES_OF_LOGITS["cpu, float32"]

    def scoring(**settings: object) -> float:
        recipe = make_recipe(model="m", **{"max_new_tokens": tokens, **settings})
        return scoring_memory(recipe, model, number_bytes=4)

    assert 2 * row < LOGITS_AT_ONCE < 32 * row
    assert scoring() == copies * LOGITS_AT_ONCE
    assert scoring(batch_size=2) == copies * 2 * row
    assert scoring(batch_size=64) == copies * 64 * row
    assert scoring(max_new_tokens=1999) == copies * 20 * row


def test_a_batch_of_low_memory_takes_no_more_than_an_edit(checkpoint: Make) -> None:
    folder = checkpoint("llama")
    config = json.loads((folder / "config.json").read_text())
    hidden, shape = config["hidden_size"], ModelShape.of_folder(folder, config)
    made = prepared_run(folder, layers="0-1", memory="low", unmeasured=True)
    lengths = [tokens_of(text) for prompts in made.calibration.values() for text in prompts.texts]
    row = row_bytes(max(lengths), max(hidden, config["intermediate_size"]))

    def streamed(batch_size: int | str, shape: ModelShape = shape) -> StreamedMemory:
        settings = {"layers": "0-1", "memory": "low", "unmeasured": True, "batch_size": batch_size}
        return streamed_memory(prepared_run(folder, **settings), shape, on_gpu=False, number_bytes=HALF_BYTES)

    assert streamed("auto") == StreamedMemory(FIRST_BATCH["cpu"] * row, sum(lengths) * hidden * HALF_BYTES)
    wide = replace(shape, size=replace(shape.size, inner=config["intermediate_size"] * 10_000))
    assert streamed(3, wide).batch == 3 * 10_000 * row  # as asked for
    assert 0.5 * LEAST_FOR_A_BATCH < streamed("auto", wide).batch <= LEAST_FOR_A_BATCH
    large = replace(wide, largest_matrix=LEAST_FOR_A_BATCH // 10)
    assert 0.8 * edit_bytes(large.largest_matrix) < streamed("auto", large).batch <= edit_bytes(large.largest_matrix)
    assert rows_within(0, 2 * LEAST_FOR_A_BATCH) == 1


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
    made = prepared_run(checkpoint("llama"), layers=layers, polish=polished, max_new_tokens=48)
    longest = (Prompt("x" * 682),)  # of the bundled prompts, 1,500 of which calibrate
    sets = {prompt_class: PromptSet(prompt_class, "as bundled", longest * 500) for prompt_class in PromptClass}
    made = replace(made, calibration=sets)
    assert memory_needed(made, given_plan(made.recipe), size) == pytest.approx(took, rel=0.1)
