"""Edits in memory are undone to the bit."""

from __future__ import annotations

import pytest
import torch
from helpers.random_edits import random_edits
from helpers.tiny_models import REQUIRED, make_model

from prosafeprune.editing.edits import PruningEdit, apply_edits
from prosafeprune.method.overlap_operator import OverlapOperator


@pytest.mark.parametrize("architecture", [*REQUIRED, "mixtral", "gpt_oss"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edits_are_as_they_would_be_on_disk_and_are_undone_to_the_bit(architecture: str, dtype: torch.dtype) -> None:
    model = make_model(architecture, dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    edits = random_edits(model, [0, 2])
    with apply_edits(edits):
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {edit.submodule.parameter_name for edit in edits}
        for edit in edits:
            weight = edit.submodule.take(before[edit.submodule.parameter_name])
            expected = weight - 0.7 * edit.operator.left @ (edit.operator.right.T @ weight)
            stored = edit.submodule.weight()
            rounding = 2**-7 if dtype is torch.bfloat16 else 1e-5
            torch.testing.assert_close(stored, expected, rtol=rounding, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_error_undoes_them_too() -> None:
    model = make_model("qwen2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="on purpose"), apply_edits(random_edits(model, [1])):
        raise ValueError("on purpose")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_edit_that_fails_half_way_is_undone() -> None:
    model = make_model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    edits = random_edits(model, [1])
    broken = PruningEdit(
        edits[-1].submodule, OverlapOperator(torch.zeros(3, 1), torch.zeros(3, 1)), 1.0, edits[-1].measures
    )
    with pytest.raises(RuntimeError), apply_edits([*edits[:-1], broken]):
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_edits_change_nothing() -> None:
    with apply_edits([]):
        pass
