"""The estimate of a run's time and memory: sums that can be checked by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make

from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.jobs import polish
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.machine import measure_speed
from prosafeprune.setup.prepare import Job, given_plan, prepare_job
from prosafeprune.setup.workload import (
    ANSWERS_AT_ONCE,
    COPIES_OF_LOGITS,
    HALF_BYTES,
    LIBRARY_BYTES,
    POLISH_EPOCHS,
    POLISH_PASS,
    POLISH_PROMPTS,
    POLISH_RANK,
    POLISH_STRENGTHS,
    POLISH_TOKENS,
    POLISH_VALIDATED,
    Cost,
    CostRecord,
    ModelSize,
    Speed,
    Stage,
    memory_needed,
    search_seconds_left,
    stages_of,
)
from prosafeprune.training.answers import IN_PASS


def job(model: Path, **settings: object) -> Job:
    return prepare_job(make_recipe(model=str(model), **settings), None, False, SilentReporter())


def test_a_given_plan_is_activations_two_times_the_answers_and_their_likelihoods(checkpoint: Make) -> None:
    made = job(checkpoint("llama"), layers=1, max_new_tokens=10)
    activations, before, after, likelihoods = stages_of(made, given_plan(made.recipe), 4)
    prompts = [one for prompts in made.calibration.values() for one in prompts.texts]
    assert activations.read == pytest.approx(0.5 * sum(len(text) / 4 + 10 for text in prompts))  # 2 of 4 layers
    assert before.written == after.written == 10 * sum(len(one.prompts) for one in made.evaluation)
    assert (likelihoods.read, likelihoods.written) == (after.read + after.written, 0)


def test_a_search_costs_more_with_more_trials_and_a_budget_in_minutes_is_what_it_says(checkpoint: Make) -> None:
    few, many, timed = (
        stages_of(job(checkpoint("llama"), budget=budget), None, 3, search_only=True) for budget in ("10", "100", "5m")
    )
    assert [stage.name for stage in few][-2:] == ["search", "best plans"]
    assert many[2].read / few[2].read == pytest.approx(100 / 10)
    assert (timed[2].read, timed[2].seconds) == (0, 300)


def test_the_time_left_of_a_search_is_in_proportion_to_what_the_base_models_answers_took(checkpoint: Make) -> None:
    made = job(checkpoint("llama"), budget="10", confirmations=3, max_new_tokens=30)
    _, base, search, best, *_ = stages_of(made, None, 3)
    rest = search.read + search.written + best.read + best.written
    assert search_seconds_left(made, 20.0) == pytest.approx(20.0 * rest / (base.read + base.written))
    timed = job(checkpoint("llama"), budget="5m", confirmations=3, max_new_tokens=30)
    assert search_seconds_left(timed, 20.0) == pytest.approx(
        300 + 20.0 * (best.read + best.written) / (base.read + base.written)
    )


def test_times_add_up_in_one_line() -> None:
    speed = Speed(reading=100, writing=10)
    stages = [Stage("activations", 3000), Stage("answers", 1000, 3000), Stage("search", 0, seconds=7200)]
    assert [speed.seconds(stage) for stage in stages] == [30, 310, 7200]
    assert Cost.estimated(stages, speed, 3.2e9).describe() == (
        "At most about 2 h 10 min on this machine: activations 30 s, answers 5 min, search 2 h. Memory: about 3.2 GB."
    )


def test_a_finished_run_names_its_longest_stages() -> None:
    stages = {"Loading": 0.2, "Search": 61.0, "Answers": 30.0}
    taken = Cost(seconds=95, memory=2e9, stages=stages)
    cost = CostRecord(estimated=Cost(seconds=120, memory=None, stages={}), taken=taken)
    assert cost.describe() == "Took 2 min (search 61 s, answers 30 s), estimated at most 2 min. Memory: took 2.0 GB."
    none = cost.model_copy(update={"taken": Cost(seconds=95, memory=None, stages={})})
    assert none.describe() == "Took 2 min, estimated at most 2 min."


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


def test_polish_is_estimated_with_its_settings() -> None:
    method = SelfTraining()
    assert (method.prompts, method.answer_tokens, method.epochs) == (POLISH_PROMPTS, POLISH_TOKENS, POLISH_EPOCHS)
    assert (method.rank, IN_PASS) == (POLISH_RANK, POLISH_PASS)
    assert (polish.VALIDATED, len(polish.STRENGTHS)) == (POLISH_VALIDATED, POLISH_STRENGTHS)


def test_a_larger_model_is_slower_in_proportion() -> None:
    small, large = (measure_speed(one, 256, torch.float32, torch.device("cpu")) for one in (1e8, 1e11))
    assert small.reading / large.reading > 100
    assert small.writing > large.writing > 0
