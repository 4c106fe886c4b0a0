"""The discriminant projection against dense least squares in float64, and on classes placed by hand."""

from __future__ import annotations

import pytest
import torch
from helpers.dense_algebra import dense, random_matrix

from prosafeprune.method.discriminant import discriminant_operator
from prosafeprune.method.fitted_projection import RIDGE
from prosafeprune.method.plan import Plan, Projection

COUNTS = {"benign": 31, "harmful": 17, "pseudo_harmful": 23}


def outputs_of(d_out: int) -> list[torch.Tensor]:
    return [random_matrix(d_out, count, count) + 1 for count in COUNTS.values()]


@pytest.mark.parametrize("share", [-1.0, -0.5, 0.0])
@pytest.mark.parametrize("d_out", [40, 100])  # fewer outputs than prompts, and more
def test_it_equals_dense_weighted_ridge_regression(d_out: int, share: float) -> None:
    classes = [one.double() for one in outputs_of(d_out)]
    second_moment, target, spread = torch.zeros(d_out, d_out).double(), torch.zeros(d_out).double(), 0.0
    for wanted, one in zip((0.0, share, 1.0), classes, strict=True):
        for column in one.T:
            second_moment += torch.outer(column, column) / one.shape[1]
            target += wanted * column / one.shape[1]
            spread += float((column - one.mean(dim=1)).square().sum()) / one.shape[1]
    ridge = RIDGE * spread / min(d_out, sum(COUNTS.values()))
    weights = torch.linalg.solve(second_moment + ridge * torch.eye(d_out).double(), target)
    refusal = classes[1].mean(dim=1) - classes[0].mean(dim=1)
    found = discriminant_operator(*outputs_of(d_out), share)
    torch.testing.assert_close(dense(found).double(), torch.outer(refusal, weights), atol=1e-5, rtol=1e-4)
    assert found.left.shape == found.right.shape == (d_out, 1)


def test_a_refusal_moves_from_pseudo_harmful_to_harmful_outputs() -> None:
    # Harmful and pseudo-harmful outputs share the refusal direction; another one tells them apart.
    shared, refusal, apart = torch.linalg.qr(random_matrix(24, 3, 0)).Q.T
    noise = [0.01 * random_matrix(24, 40, seed) for seed in range(3)]
    benign = shared[:, None] + noise[0]
    harmful = (shared + refusal - apart)[:, None] + noise[1]
    pseudo_harmful = (shared + refusal + apart)[:, None] + noise[2]
    operator = discriminant_operator(benign, harmful, pseudo_harmful, -1.0)

    def refusal_after(outputs: torch.Tensor, strength: float) -> float:
        return float(refusal @ (outputs - strength * operator(outputs)).mean(dim=1))

    assert refusal_after(pseudo_harmful, 1.0) == pytest.approx(0, abs=0.05)
    assert refusal_after(pseudo_harmful, 0.5) == pytest.approx(0.5, abs=0.05)
    assert refusal_after(harmful, 1.0) == pytest.approx(2, abs=0.05)
    assert refusal_after(benign, 1.0) == pytest.approx(0, abs=0.05)
    spared = discriminant_operator(benign, harmful, pseudo_harmful, 0.0)
    assert float(refusal @ (harmful - spared(harmful)).mean(dim=1)) == pytest.approx(1, abs=0.05)


def test_the_plan_has_rank_one_and_a_share_of_its_own() -> None:
    plan = Plan(layers=(1,), rank=16, projection=Projection.DISCRIMINANT)
    assert (plan.rank, plan.target_share) == (1, -1.0)
    assert Plan(layers=(1,), projection=Projection.DISCRIMINANT, harmful_share=-0.5).target_share == -0.5
    assert Plan(layers=(1,), projection=Projection.CONTRASTIVE).target_share == -0.5
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
