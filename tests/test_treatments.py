"""A model measured under treatments: undone to the bit, nothing done twice, answers shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import tiny
from test_scoring import OddJudge
from test_variants import PLAN, edited_state, variant_edits

from prosafeprune.ability import Question
from prosafeprune.analysis.sweeping import measure_sweep, treatment_of
from prosafeprune.analysis.sweeps import depth_sweep, operator_sweep, strength_sweep, submodule_sweep
from prosafeprune.analysis.treatments import UNTREATED, Measuring, TreatedModel
from prosafeprune.analysis.variants import Variant
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Answer, Decoding, LocalGenerator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts

SIZES = {PromptClass.PSEUDO_HARMFUL: 5, PromptClass.HARMFUL: 4}


class Interrupted(Exception):
    pass


class Answered(list[str]):
    """The prompts that models in memory answered, as they came."""

    stop_at: int | None = None
    """How many may be answered before the run is interrupted."""


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Answered:
    prompts = Answered()
    original = LocalGenerator.answer

    def answer(self: LocalGenerator, asked: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        for place, one in original(self, asked, decoding):
            if len(prompts) == prompts.stop_at:
                raise Interrupted
            prompts.append(asked[place])
            yield place, one

    monkeypatch.setattr(LocalGenerator, "answer", answer)
    return prompts


def treated(loaded: LoadedModel, folder: Path, **made_by: Any) -> TreatedModel:
    sets = [
        EvaluationSet(one.value, one.in_words, bundled_prompts(one, "validation").sample(size, 0))
        for one, size in SIZES.items()
    ]
    measuring = Measuring(sets, OddJudge(), Decoding(max_new_tokens=3))
    return TreatedModel(loaded, measuring, folder, {"model": "tiny", **made_by}, SilentReporter())


def test_a_sweep_measures_what_measuring_each_edit_by_itself_finds(tmp_path: Path) -> None:
    loaded = tiny("llama")
    edits, sweep = variant_edits(loaded), operator_sweep(PLAN)
    found = measure_sweep(sweep, treated(loaded, tmp_path), edits)
    assert list(found["label"]) == [step.label for step in sweep.steps]
    for row, step in enumerate(sweep.steps):
        other = tiny("llama")
        if step.variant is not None:
            changed = edited_state(loaded.model, edits.of(step.variant))
            other.model.load_state_dict(changed)
        for one in treated(other, tmp_path / f"alone-{row}").measure(UNTREATED).sets:
            assert found[one.prompt_class.value][row].tolist() == one.outcomes
    answers = [path.read_text() for path in tmp_path.glob("*/answers.jsonl")]
    assert len(set(answers)) == 3  # the treatments do change what this model says


def test_the_model_is_left_as_it_was_and_nothing_is_done_twice(tmp_path: Path, answered: Answered) -> None:
    loaded = tiny("qwen2")
    before = edited_state(loaded.model, [])
    edits, sweep = variant_edits(loaded), strength_sweep(PLAN, [0.4, 0.8])
    first = measure_sweep(sweep, treated(loaded, tmp_path), edits)
    assert len(answered) == 3 * sum(SIZES.values())
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    again = measure_sweep(sweep, treated(loaded, tmp_path), edits)
    assert len(answered) == 3 * sum(SIZES.values())
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


def test_an_interrupted_sweep_is_undone_and_goes_on(tmp_path: Path, answered: Answered) -> None:
    loaded = tiny("llama")
    before = edited_state(loaded.model, [])
    edits, sweep = variant_edits(loaded), submodule_sweep(PLAN, find_anatomy(loaded.model))
    whole = measure_sweep(sweep, treated(loaded, tmp_path / "whole"), edits)
    total = len(answered)
    answered.clear()
    answered.stop_at = 15
    with pytest.raises(Interrupted):
        measure_sweep(sweep, treated(loaded, tmp_path / "cut"), edits)
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    answered.stop_at = None
    resumed = measure_sweep(sweep, treated(loaded, tmp_path / "cut"), edits)
    assert len(answered) == total
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name])


def test_sweeps_share_the_source_and_the_plan(tmp_path: Path, answered: Answered) -> None:
    loaded = tiny("llama")
    edits, model = variant_edits(loaded), treated(loaded, tmp_path)
    for sweep in (
        strength_sweep(PLAN, [0.8]),
        depth_sweep(PLAN, 3),
        submodule_sweep(PLAN, find_anatomy(loaded.model)),
        operator_sweep(PLAN),
    ):
        measure_sweep(sweep, model, edits)
    # the source, the plan; bottom layers and three layers alone; five groups of submodules; one operator
    assert len(answered) == (2 + 4 + 5 + 1) * sum(SIZES.values())


def test_more_prompts_later_ask_only_for_these(tmp_path: Path, answered: Answered) -> None:
    loaded = tiny("llama")
    edits, model = variant_edits(loaded), treated(loaded, tmp_path)
    model.measure(treatment_of(Variant(plan=PLAN), edits))
    further = EvaluationSet("more", "more", bundled_prompts(PromptClass.HARMFUL, "test").sample(2, 0))
    measuring = Measuring([*model.measuring.sets, further], OddJudge(), model.measuring.decoding)
    more = TreatedModel(loaded, measuring, tmp_path, model.made_by, SilentReporter())
    more.measure(treatment_of(Variant(plan=PLAN), edits))
    assert sorted(answered[sum(SIZES.values()) :]) == sorted(further.prompts.texts)


def test_answers_of_another_model_are_not_taken(tmp_path: Path) -> None:
    loaded = tiny("llama")
    treated(loaded, tmp_path).measure(UNTREATED)
    with pytest.raises(InputError, match="was made otherwise"):
        treated(loaded, tmp_path, model="another").measure(UNTREATED)


def test_ability_of_a_treated_model_is_kept_too(tmp_path: Path, answered: Answered) -> None:
    loaded = tiny("llama")
    edits, model = variant_edits(loaded), treated(loaded, tmp_path)
    questions = [Question("gsm8k", f"gsm8k:{n}", f"What is {n} + 1?", str(n + 1), {}) for n in range(3)]
    treatment = treatment_of(Variant(plan=PLAN), edits)
    first = model.ability(treatment, questions, tokens=3)
    assert len(answered) == 3 and first["gsm8k"].accuracy.total == 3
    assert model.ability(treatment, questions, tokens=3) == first
    assert len(answered) == 3
