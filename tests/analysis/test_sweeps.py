"""Parts of a plan, in memory: which weights they change, and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from helpers.resumed_models import tiny
from helpers.tiny_models import REQUIRED

from prosafeprune.analysis.sweeps import (
    Variant,
    depth_sweep,
    operator_sweep,
    rank_sweep,
    strength_sweep,
    submodule_sweep,
    variant_edits,
)
from prosafeprune.checkpoint.writer import EditedTensors
from prosafeprune.editing.edits import Edit, apply_edits
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.method.overlap_operator import harmful_operator
from prosafeprune.method.plan import Plan, Pooling, Projection, describe_layers
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.setup.calibrate import collect_inputs

PLAN = Plan(layers=(1, 2), rank=4, strength=0.8)


def plan_edits(loaded: LoadedModel) -> OperatorCache:
    anatomy = find_anatomy(loaded.model)
    prompts = {name: bundled_prompts(name, "calibration").sample(12, 0) for name in PromptClass}
    layers = range(anatomy.num_layers)
    inputs, rows = collect_inputs(loaded, anatomy, prompts, [PLAN.pooling], layers, 4, SilentReporter())
    return OperatorCache(anatomy, inputs, rows)


def edited_state(model: Any, edits: Sequence[Edit]) -> dict[str, torch.Tensor]:
    with apply_edits(edits):
        return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("architecture", REQUIRED)
def test_a_restricted_plan_changes_these_submodules_alone(architecture: str) -> None:
    loaded = tiny(architecture)
    of_plans, before = plan_edits(loaded), edited_state(loaded.model, [])
    for step in submodule_sweep(PLAN, find_anatomy(loaded.model)).steps[1:-1]:
        assert step.variant is not None and step.variant.kinds
        after = edited_state(loaded.model, variant_edits(step.variant, of_plans))
        whole = edited_state(loaded.model, variant_edits(Variant(plan=PLAN), of_plans))
        for submodule in find_anatomy(loaded.model).submodules:
            name = submodule.parameter_name
            mine = submodule.layer in PLAN.layers and submodule.kind in step.variant.kinds
            expected = whole if mine else before
            assert torch.equal(submodule.take(after[name]), submodule.take(expected[name]))
            assert not mine or not torch.equal(submodule.take(after[name]), submodule.take(before[name]))


@pytest.mark.parametrize("architecture", [*REQUIRED, "gpt_neox"])
def test_all_submodules_together_are_the_plan(architecture: str) -> None:
    loaded = tiny(architecture)
    of_plans = plan_edits(loaded)
    *single, whole = submodule_sweep(PLAN, find_anatomy(loaded.model)).steps[1:]
    assert whole.variant == Variant(plan=PLAN)
    together = [edit for step in single if step.variant for edit in variant_edits(step.variant, of_plans)]
    assert len(together) == len(variant_edits(Variant(plan=PLAN), of_plans))
    one = edited_state(loaded.model, together)
    two = edited_state(loaded.model, variant_edits(Variant(plan=PLAN), of_plans))
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_the_paper_names_of_submodules() -> None:
    sweep = submodule_sweep(PLAN, find_anatomy(tiny("llama").model))
    assert [step.label for step in sweep.steps] == ["base model", "q", "k", "v", "o", "MLP", "all"]
    assert sweep.steps[5].variant is not None and sweep.steps[5].variant.kinds == ("gate", "up", "down")


def test_the_operator_without_the_pseudo_harmful_projector_by_hand() -> None:
    torch.manual_seed(0)
    benign, harmful = (torch.linalg.qr(torch.randn(9, 3, dtype=torch.float64))[0] for _ in range(2))
    weight = torch.randn(9, 5, dtype=torch.float64)
    literal = (torch.eye(9, dtype=torch.float64) - benign @ benign.T) @ (harmful @ harmful.T)
    torch.testing.assert_close(harmful_operator(benign, harmful)(weight), literal @ weight, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("architecture", REQUIRED)
def test_the_ablated_edit_against_dense_projectors(architecture: str) -> None:
    loaded = tiny(architecture)
    of_plans = plan_edits(loaded)
    ablated = variant_edits(Variant(plan=PLAN, harmful_only=True), of_plans)
    inputs = of_plans.inputs[PLAN.pooling]
    after = edited_state(loaded.model, ablated)
    for edit in ablated:
        submodule = edit.submodule
        weight = submodule.take(submodule.module.weight.detach())
        outputs = inputs.outputs(submodule, weight).double()
        projectors = {}
        for name, rows in of_plans.class_rows.items():
            left = torch.linalg.svd(outputs[:, list(rows)])[0][:, : PLAN.rank]
            projectors[name] = left @ left.T
        unit = torch.eye(len(weight), dtype=torch.float64)
        omega = (unit - projectors[PromptClass.BENIGN]) @ projectors[PromptClass.HARMFUL]
        expected = ((unit - 0.8 * omega) @ weight.double()).float()
        torch.testing.assert_close(submodule.take(after[submodule.parameter_name]), expected, rtol=1e-4, atol=1e-4)


def test_a_plan_cannot_say_what_weakens_safety() -> None:
    with pytest.raises(pydantic.ValidationError):
        Plan.model_validate({**PLAN.model_dump(), "harmful_only": True})
    ablated = variant_edits(Variant(plan=PLAN, harmful_only=True), plan_edits(tiny("llama")))
    located = {edit.submodule.module_name: ("", None) for edit in ablated}
    with pytest.raises(TypeError, match="edits of a plan"):
        EditedTensors(Path(), located, ablated)  # type: ignore[arg-type]


def test_steps_of_strength_and_rank() -> None:
    strengths = strength_sweep(PLAN, [1.0, 0.5, 0.5])
    assert [step.value for step in strengths.steps] == [0.0, 0.5, 1.0]
    assert strengths.steps[0].variant is None
    assert [variant.plan.strength for variant in strengths.variants] == [0.5, 1.0]
    ranks = rank_sweep(PLAN, [8, 2])
    assert [(step.label, step.variant and step.variant.plan.rank) for step in ranks.steps] == [
        ("base model", None),
        ("2", 2),
        ("8", 8),
    ]


def test_steps_of_the_operator() -> None:
    variants = operator_sweep(PLAN).variants
    assert [variant.harmful_only for variant in variants] == [False, True]
    assert all(variant.plan == PLAN for variant in variants)
    searched = PLAN.model_copy(update={"projection": Projection.CONTRASTIVE, "harmful_share": -0.35})
    assert operator_sweep(searched).variants == variants
    beyond = searched.model_copy(update={"strength": (2.0,) * len(PLAN.layers)})
    assert {variant.plan.strength for variant in operator_sweep(beyond).variants} == {(1.0,) * len(PLAN.layers)}


def test_steps_of_depth_are_those_of_tables_10_and_11() -> None:
    llama = depth_sweep(Plan(layers=(13, 14, 15, 16), strength=(0.5, 0.9, 0.9, 0.9)), 32)
    assert [step.label for step in llama.steps[1:4]] == ["bottom: 0-3", "plan: 13-16", "top: 28-31"]
    assert llama.steps[3].variant is not None and llama.steps[3].variant.plan.strength == 0.9
    qwen = depth_sweep(Plan(layers=(16,)), 28)
    assert [step.label for step in qwen.steps[4:]] == [f"layer {layer}" for layer in range(14, 19)]
    assert qwen.variants[1] == Variant(plan=Plan(layers=(16,)))
    assert len(qwen.variants) == 7  # the plan's layer is measured once
    assert [step.label for step in depth_sweep(Plan(layers=(0,)), 3).steps[4:]] == ["layer 0", "layer 1", "layer 2"]


def test_layer_0_is_left_out_where_the_last_token_is_the_same_in_every_prompt() -> None:
    steps = depth_sweep(Plan(layers=(1, 2), pooling=Pooling.LAST), 8).steps
    assert [step.label for step in steps[1:]] == [
        *("bottom: 1-2", "plan: 1-2", "top: 6-7", "layer 1", "layer 2", "layer 3", "layer 4")
    ]


def test_layers_in_words() -> None:
    assert describe_layers([3]) == "3"
    assert describe_layers([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
