"""The estimate of a run's time: sums that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.estimates import prepared_run
from helpers.fixture_types import Make

from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.evaluation.prompted_base import prompted_sample
from prosafeprune.jobs import polish
from prosafeprune.setup.machine import TRIED_SECONDS, fastest_seconds, measure_speed
from prosafeprune.setup.prepare import given_plan
from prosafeprune.setup.run_memory import POLISH_PASS, POLISH_RANK
from prosafeprune.setup.workload import (
    MEASURING_STAGES,
    POLISH_EPOCHS,
    POLISH_PROMPTS,
    POLISH_STRENGTHS,
    POLISH_TOKENS,
    POLISH_VALIDATED,
    Cost,
    CostRecord,
    Speed,
    Stage,
    search_seconds_left,
    stages_of,
)
from prosafeprune.training.answer_loss import IN_PASS


def test_a_given_plan_is_activations_two_times_the_answers_and_their_likelihoods(checkpoint: Make) -> None:
    made = prepared_run(checkpoint("llama"), layers=1, max_new_tokens=10)
    activations, before, after, likelihoods = stages_of(made, given_plan(made.recipe), 4)
    prompts = [text for prompts in made.calibration.values() for text in prompts.texts]
    assert activations.read == pytest.approx(0.5 * sum(len(text) / 4 + 10 for text in prompts))  # 2 of 4 layers
    assert before.written == after.written == 10 * sum(len(test_set.prompts) for test_set in made.evaluation)
    assert (likelihoods.read, likelihoods.written) == (after.read + after.written, 0)


def test_answers_behind_a_system_prompt_are_a_stage_between_those_of_base_and_pruned_model(checkpoint: Make) -> None:
    made = prepared_run(checkpoint("llama"), layers=1, max_new_tokens=10)
    sampled = replace(made, prompted=prompted_sample(made.evaluation, 5, 0))
    _, base, prompted, pruned, _ = stages_of(sampled, given_plan(made.recipe), 4)
    assert [one.name for one in (base, prompted, pruned)] == list(MEASURING_STAGES[:3])
    assert prompted.written == 10 * 2 * 5


def test_a_search_costs_more_with_more_trials_and_a_budget_in_minutes_is_what_it_says(checkpoint: Make) -> None:
    few, many, timed = (
        stages_of(prepared_run(checkpoint("llama"), budget=budget), None, 3, search_only=True)
        for budget in ("10", "100", "5m")
    )
    assert [stage.name for stage in few][-2:] == ["search", "best plans"]
    assert many[2].read / few[2].read == pytest.approx(100 / 10)
    assert (timed[2].read, timed[2].seconds) == (0, 300)


def test_the_papers_strategy_measures_every_plan_that_it_tries(checkpoint: Make) -> None:
    made = prepared_run(checkpoint("llama"), budget="10", strategy="paper", max_new_tokens=30)
    _, base, search = stages_of(made, None, 3, search_only=True)
    assert (search.read, search.written) == (10 * base.read, 10 * base.written)


def test_the_time_left_of_a_search_is_in_proportion_to_what_the_base_models_answers_took(checkpoint: Make) -> None:
    made = prepared_run(checkpoint("llama"), budget="10", confirmations=3, max_new_tokens=30)
    _, base, search, best, *_ = stages_of(made, None, 3)
    rest = search.read + search.written + best.read + best.written
    assert search_seconds_left(made, 20.0) == pytest.approx(20.0 * rest / (base.read + base.written))
    timed = prepared_run(checkpoint("llama"), budget="5m", confirmations=3, max_new_tokens=30)
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


def test_polish_is_estimated_with_its_settings() -> None:
    method = SelfTraining()
    assert (method.prompts, method.answer_tokens, method.epochs) == (POLISH_PROMPTS, POLISH_TOKENS, POLISH_EPOCHS)
    assert (method.rank, IN_PASS) == (POLISH_RANK, POLISH_PASS)
    assert (polish.VALIDATED, len(polish.STRENGTHS)) == (POLISH_VALIDATED, POLISH_STRENGTHS)


def test_a_larger_model_is_slower_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest_seconds, "__defaults__", (TRIED_SECONDS,))
    small, large = (measure_speed((passed, passed), 256, torch.float32, torch.device("cpu")) for passed in (1e8, 1e11))
    assert small.reading / large.reading > 100
    assert small.writing > large.writing > 0
