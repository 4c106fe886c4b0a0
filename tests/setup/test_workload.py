"""The estimate of a run's time and memory: sums that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make

from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.machine import measure_speed
from prosafeprune.setup.prepare import Job, given_plan, prepare_job
from prosafeprune.setup.workload import (
    LIBRARY_BYTES,
    Cost,
    CostRecord,
    ModelSize,
    Speed,
    Stage,
    memory_needed,
    stages_of,
)


def job(model: Path, **settings: object) -> Job:
    return prepare_job(make_recipe(model=str(model), **settings), None, False, SilentReporter())


def test_a_given_plan_is_activations_and_two_times_the_answers(checkpoint: Make) -> None:
    made = job(checkpoint("llama"), layers=1, max_new_tokens=10)
    activations, before, after = stages_of(made, given_plan(made.recipe), 4)
    prompts = [one for prompts in made.calibration.values() for one in prompts.texts]
    assert activations.read == pytest.approx(0.5 * sum(len(text) / 4 + 10 for text in prompts))  # 2 of 4 layers
    assert before.written == after.written == 10 * sum(len(one.prompts) for one in made.evaluation)


def test_a_search_costs_more_with_more_trials_and_a_budget_in_minutes_is_what_it_says(checkpoint: Make) -> None:
    few, many, timed = (
        stages_of(job(checkpoint("llama"), budget=budget), None, 3, search_only=True) for budget in ("10", "100", "5m")
    )
    assert [stage.name for stage in few][-2:] == ["search", "best plans"]
    assert many[2].read / few[2].read == pytest.approx(100 / 10)
    assert (timed[2].read, timed[2].seconds) == (0, 300)


def test_times_add_up_in_one_line() -> None:
    speed = Speed(reading=100, writing=10)
    stages = [Stage("activations", 3000), Stage("answers", 1000, 3000), Stage("search", 0, seconds=7200)]
    assert [speed.seconds(stage) for stage in stages] == [30, 310, 7200]
    assert Cost.estimated(stages, speed, 3.2e9).describe() == (
        "About 2 h 10 min on this machine: activations 30 s, answers 5 min, search 2 h. Memory: about 3.2 GB."
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
    on_gpu = 2 * size.weight_bytes + inputs
    assert memory_needed(made, given_plan(made.recipe), size, 2.0, on_gpu=True) == on_gpu
    without = memory_needed(made, given_plan(made.recipe), size, 2.0)
    assert without == on_gpu + size.weight_bytes + LIBRARY_BYTES
    assert memory_needed(made, None, ModelSize.of(folder, {})) is None


def test_a_larger_model_is_slower_in_proportion() -> None:
    small, large = (measure_speed(one, 256, torch.float32, torch.device("cpu")) for one in (1e8, 1e11))
    assert small.reading / large.reading > 100
    assert small.writing > large.writing > 0
