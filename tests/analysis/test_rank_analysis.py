"""Overlaps of subspaces at known angles, and the rank where they have least in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.analysis.context import Pooled
from prosafeprune.analysis.rank_analysis import CHANCE, PAIRS, _overlaps, overlap_result
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass


def linear(d_in: int, weight: torch.Tensor, name: str = "w") -> Submodule:
    module = nn.Linear(d_in, weight.shape[0], bias=False)
    with torch.no_grad():
        module.weight.copy_(weight)
    return Submodule(0, "q", name, module)


def subspaces_at(angles: Sequence[float], width: int) -> Pooled:
    """Return activations whose harmful and pseudo-harmful subspaces have these principal angles, in this order."""
    count = len(angles)
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(3)))[0]
    harmful, other = turn[:, :count], turn[:, count : 2 * count]
    cosines, sines = torch.tensor(angles).cos(), torch.tensor(angles).sin()
    strengths = torch.arange(count, 0, -1.0)
    columns = [
        turn[:, 2 * count : 3 * count] * strengths,
        harmful * strengths,
        (harmful * cosines + other * sines) * strengths,
    ]
    rows = {name: range(i * count, (i + 1) * count) for i, name in enumerate(PromptClass)}
    return Pooled(PooledInputs({"w": torch.cat(columns, dim=1).T.contiguous()}, (3 * count,), 0), rows)


def test_overlaps_of_subspaces_at_known_angles() -> None:
    assert list(PromptClass) == [PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL]
    angles = [0.0, math.pi / 2, math.pi / 3, 0.3]
    found = dict(_overlaps(subspaces_at(angles, 12), linear(12, torch.eye(12)), [1, 2, 3, 4, 5]))
    expected = [np.mean(np.cos(angles[:rank])) for rank in (1, 2, 3, 4)]
    np.testing.assert_allclose(found["harmful, pseudo-harmful"][:4], expected, atol=1e-6)
    np.testing.assert_allclose(found["harmful, benign"][:4], 0, atol=1e-6)
    for name in (*PAIRS, CHANCE):
        assert math.isnan(found[name][4]), "no fifth direction"
    assert 0 < found[CHANCE][0] < 1


def test_the_rank_where_subspaces_have_least_in_common() -> None:
    seen = {f"overlap {name}": np.array([[1.0, 0.2, 0.6], [1.0, 0.4, np.nan]]) for name in (*PAIRS, CHANCE)}
    seen |= {"layers": np.array([0, 1]), "kinds": np.array(["q", "q"]), "ranks": np.array([1, 8, 16])}
    found = overlap_result(seen, 16)
    assert found.table("least").rows[0] == ("harmful, pseudo-harmful", 8, pytest.approx(0.3), pytest.approx(0.6))
    assert found.table("overlap").rows[2][-1] == 1
    assert found.table("layers").rows[5] == (1, 16, None)
