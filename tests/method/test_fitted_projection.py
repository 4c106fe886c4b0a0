"""Fitted projectors against dense least squares in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.dense_algebra import dense, projector, random_matrix
from helpers.slow_reference import fitted_projector

from prosafeprune.method.energy import energy_bound, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import RIDGE, fit_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator, pruned_weight
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


@pytest.mark.parametrize("d_in", [D_IN, 100])  # fewer inputs than prompts, and more
@pytest.mark.parametrize("share", [-0.5, 0.2])
def test_reading_inputs_equals_dense_least_squares(d_in: int, share: float) -> None:
    inputs = {name: random_matrix(d_in, count, count) + 1 for name, count in COUNTS.items()}
    weight, bias = random_matrix(D_OUT, d_in, 7), random_matrix(D_OUT, 1, 8)
    outputs = {name: weight @ one + bias for name, one in inputs.items()}
    pseudo = basis(outputs["pseudo_harmful"], RANK)
    found = pseudo @ fit_projection(*outputs.values(), pseudo, list(inputs.values())).of_share(share).T
    expected = fitted_projector(projector(pseudo), columns(outputs), share, RIDGE, columns(inputs))
    torch.testing.assert_close(found, expected)


def test_inputs_are_told_apart_where_outputs_are_not() -> None:
    """A matrix that drops the only direction in which two classes differ."""
    benign, shared, apart = torch.linalg.qr(random_matrix(D_IN, 3, 0)).Q.T
    weight = random_matrix(D_OUT, D_IN, 1)
    weight -= torch.outer(weight @ apart, apart)
    inputs = [
        (direction[:, None] + 1e-5 * random_matrix(D_IN, 20, i))
        for i, direction in enumerate((benign, shared + apart, shared - apart))
    ]
    outputs = [weight @ one for one in inputs]
    pseudo = basis(outputs[2], 1)
    by_outputs = fit_projection(*outputs, pseudo).of_share(-1.0)
    by_inputs = fit_projection(*outputs, pseudo, inputs).of_share(-1.0)
    taken = projector(pseudo) @ outputs[2].mean(dim=1)
    removed = [pseudo @ (by_inputs.T @ one.mean(dim=1)) for one in inputs]
    torch.testing.assert_close(removed[2], taken, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(removed[1], -taken, atol=1e-3, rtol=1e-3)
    assert float((pseudo @ (by_outputs.T @ outputs[2].mean(dim=1))).norm()) < 0.4 * float(taken.norm())


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
        bound = energy_bound(operator, weight, stable_rank(weight))
        norm = float(torch.linalg.matrix_norm(dense(operator), ord=2))
        assert bound == pytest.approx(RANK * max(1.0, norm) ** 2 / stable_rank(weight))
        assert relative_energy(operator, weight) <= bound


@pytest.mark.parametrize("scale", [0.5, 7.0])
def test_energy_and_its_bound_for_operators_that_read_inputs(scale: float) -> None:
    weight = random_matrix(D_OUT, D_IN, 1)
    operator = OverlapOperator(scale * random_matrix(D_OUT, RANK, 2), random_matrix(D_IN, RANK, 3), reads_inputs=True)
    removed = operator.left @ operator.right.T
    torch.testing.assert_close(weight - pruned_weight(weight, operator, 0.5), 0.5 * removed)
    energy = float(removed.square().sum() / weight.square().sum())
    assert relative_energy(operator, weight) == pytest.approx(energy, rel=1e-5)
    norms = [float(torch.linalg.matrix_norm(one, ord=2)) for one in (removed, weight)]
    bound = energy_bound(operator, weight, stable_rank(weight))
    assert bound == pytest.approx(RANK * max(1.0, norms[0] / norms[1]) ** 2 / stable_rank(weight), rel=1e-4)
    assert energy <= bound


@pytest.mark.parametrize("share", [-1.0, -0.2, 0.0, 0.3])
def test_a_plan_s_share_is_the_one_fitted(outputs: dict[str, torch.Tensor], share: float) -> None:
    plan = Plan(layers=(1,), projection=Projection.CONTRASTIVE, harmful_share=share)
    pseudo = basis(outputs["pseudo_harmful"], RANK)
    found = pseudo @ fit_projection(*outputs.values(), pseudo).of_share(plan.fitted_share).T
    torch.testing.assert_close(found, fitted_projector(projector(pseudo), columns(outputs), share, RIDGE))


def test_only_contrastive_projections_take_a_share() -> None:
    for projection in (Projection.CONTRASTIVE, Projection.CONTRASTIVE_INPUTS):
        assert Plan(layers=(1,), projection=projection).fitted_share == -0.5
        assert Plan(layers=(1,), projection=projection, harmful_share=-0.2).fitted_share == -0.2
    assert Plan(layers=(1,), projection=Projection.OBLIQUE).fitted_share == 0
    for projection in (Projection.ORTHOGONAL, Projection.OBLIQUE):
        with pytest.raises(ValueError, match=f"the {projection.value} projection does not take"):
            Plan(layers=(1,), projection=projection, harmful_share=-0.2)
