"""Fitted projectors against dense least squares in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.dense_algebra import dense, projector, random_matrix
from helpers.slow_reference import fitted_projector

from prosafeprune.method.energy import energy_bound, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import RIDGE, fit_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator
from prosafeprune.method.plan import HARMFUL_SHARE, Plan, Projection
from prosafeprune.method.subspaces import basis

D_OUT, D_IN, RANK = 40, 24, 6
COUNTS = {"benign": 31, "harmful": 17, "pseudo_harmful": 23}


@pytest.fixture
def outputs() -> dict[str, torch.Tensor]:
    shared = 3 * random_matrix(D_OUT, 1, 9)
    return {name: random_matrix(D_OUT, count, count) + shared for name, count in COUNTS.items()}


def columns(outputs: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    return {name: list(one.T) for name, one in outputs.items()}


@pytest.mark.parametrize("projection", HARMFUL_SHARE)
@pytest.mark.parametrize("d_out", [D_OUT, 100])  # fewer outputs than prompts, and more
def test_reading_equals_dense_least_squares(projection: Projection, d_out: int) -> None:
    outputs = {name: random_matrix(d_out, count, count) + 1 for name, count in COUNTS.items()}
    share = HARMFUL_SHARE[projection]
    pseudo = basis(outputs["pseudo_harmful"], RANK)
    found = pseudo @ fit_projection(*outputs.values(), pseudo).of_share(share).T
    torch.testing.assert_close(found, fitted_projector(projector(pseudo), columns(outputs), share, RIDGE))


def test_no_other_reading_of_the_same_subspace_fits_better(outputs: dict[str, torch.Tensor]) -> None:
    pseudo = basis(outputs["pseudo_harmful"], RANK)
    reading = fit_projection(*outputs.values(), pseudo).of_share(-0.5)
    spread = sum(float((one - one.mean(dim=1, keepdim=True)).square().sum()) / one.shape[1] for one in outputs.values())

    def loss(candidate: torch.Tensor) -> float:
        matrix = pseudo @ candidate.T
        total = RIDGE * spread / min(D_OUT, sum(COUNTS.values())) * float(matrix.square().sum())
        for share, one in zip((0.0, -0.5, 1.0), outputs.values(), strict=True):
            wanted = share * projector(pseudo) @ one
            total += float((matrix @ one - wanted).square().sum()) / one.shape[1]
        return total

    for seed in range(20):
        assert loss(reading + 1e-3 * random_matrix(D_OUT, RANK, seed)) > loss(reading)


def test_classes_that_lie_apart_are_read_as_asked() -> None:
    # Each class along a direction of its own, with hardly any spread, so that the ridge is next to nothing.
    directions = torch.linalg.qr(random_matrix(D_OUT, 3, 0)).Q
    outputs = [directions[:, [i]] + 1e-4 * random_matrix(D_OUT, 20, i) for i in range(3)]
    pseudo = basis(outputs[2], 1)
    for share in HARMFUL_SHARE.values():
        matrix = pseudo @ fit_projection(*outputs, pseudo).of_share(share).T
        torch.testing.assert_close(matrix @ directions[:, 2], directions[:, 2], atol=1e-3, rtol=0)
        assert float((matrix @ directions[:, 0]).norm()) < 1e-3
        # A harmful output that has no pseudo-harmful part has none to add to either.
        assert float((matrix @ directions[:, 1]).norm()) < 1e-3


def test_harmful_outputs_are_spared_and_strengthened(outputs: dict[str, torch.Tensor]) -> None:
    bases = [basis(one, RANK) for one in outputs.values()]
    paper = overlap_operator(*bases)
    _, harmful, pseudo_harmful = (one.mean(dim=1) for one in outputs.values())
    taken = {Projection.ORTHOGONAL: dense(paper)}
    for projection, share in HARMFUL_SHARE.items():
        right = fit_projection(*outputs.values(), bases[2]).of_share(share)
        taken[projection] = dense(OverlapOperator(paper.left, right))
    along = dense(paper) @ harmful  # what the paper's operator takes of the mean harmful output
    shares = {name: float(operator @ harmful @ along / along.square().sum()) for name, operator in taken.items()}
    assert shares[Projection.ORTHOGONAL] == pytest.approx(1)
    assert abs(shares[Projection.OBLIQUE]) < 0.5
    assert shares[Projection.CONTRASTIVE] < shares[Projection.OBLIQUE]
    for operator in taken.values():
        assert float((operator @ pseudo_harmful).norm()) > 0


def test_the_bound_on_energy_holds_for_operators_that_are_no_contractions() -> None:
    weight = random_matrix(D_OUT, D_IN, 1)
    for scale in (0.5, 1.0, 7.0):
        operator = OverlapOperator(scale * random_matrix(D_OUT, RANK, 2), random_matrix(D_OUT, RANK, 3) / D_OUT)
        bound = energy_bound(operator, stable_rank(weight))
        norm = float(torch.linalg.matrix_norm(dense(operator), ord=2))
        assert bound == pytest.approx(RANK * max(1.0, norm) ** 2 / stable_rank(weight))
        assert relative_energy(operator, weight) <= bound


@pytest.mark.parametrize("share", [-1.0, -0.2, 0.0, 0.3])
def test_a_plan_s_share_is_the_one_fitted(outputs: dict[str, torch.Tensor], share: float) -> None:
    plan = Plan(layers=(1,), projection=Projection.CONTRASTIVE, harmful_share=share)
    pseudo = basis(outputs["pseudo_harmful"], RANK)
    found = pseudo @ fit_projection(*outputs.values(), pseudo).of_share(plan.fitted_share).T
    torch.testing.assert_close(found, fitted_projector(projector(pseudo), columns(outputs), share, RIDGE))


def test_only_the_contrastive_projection_takes_a_share() -> None:
    assert Plan(layers=(1,), projection=Projection.CONTRASTIVE).fitted_share == -0.5
    assert Plan(layers=(1,), projection=Projection.OBLIQUE).fitted_share == 0
    for projection in (Projection.ORTHOGONAL, Projection.OBLIQUE):
        with pytest.raises(ValueError, match=f"the {projection.value} projection does not take"):
            Plan(layers=(1,), projection=projection, harmful_share=-0.2)
