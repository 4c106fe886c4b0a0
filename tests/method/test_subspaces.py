"""Eqs. 1 to 3 against dense float64 algebra."""

from __future__ import annotations

import pytest
import torch
from helpers.dense_algebra import dense, projector, random_matrix
from scipy.sparse.linalg import svds

from prosafeprune.errors import InputError
from prosafeprune.method.energy import harmful_overlap, products_on_device, relative_energy, stable_rank
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator, pruned_weight
from prosafeprune.method.subspaces import basis, svd_by_qr

D_OUT, D_IN, COUNT, RANK = 40, 24, 30, 6


@pytest.fixture
def bases() -> list[torch.Tensor]:
    shared = random_matrix(D_OUT, COUNT, 9)
    return [basis(random_matrix(D_OUT, COUNT, seed) + shared, RANK) for seed in range(3)]


def test_projectors_are_idempotent_symmetric_and_of_the_rank_asked_for(bases: list[torch.Tensor]) -> None:
    for u in bases:
        pi = projector(u)
        torch.testing.assert_close(pi @ pi, pi)
        torch.testing.assert_close(pi, pi.T)
        assert torch.linalg.matrix_rank(pi) == RANK


def test_basis_is_the_best_approximation_of_its_rank() -> None:
    a = random_matrix(D_OUT, COUNT, 0)
    u = basis(a, RANK)
    singular_values = torch.linalg.svdvals(a)
    lost = torch.linalg.matrix_norm(a - projector(u) @ a)
    torch.testing.assert_close(lost, singular_values[RANK:].square().sum().sqrt())
    other = torch.linalg.qr(random_matrix(D_OUT, RANK, 5)).Q
    assert torch.linalg.matrix_norm(a - projector(other) @ a) > lost


def test_operator_equals_the_dense_product_of_the_three_projectors_in_order(
    bases: list[torch.Tensor],
) -> None:
    benign, harmful, pseudo = bases
    identity = torch.eye(D_OUT, dtype=torch.float64)
    expected = (identity - projector(benign)) @ projector(harmful) @ projector(pseudo)
    operator = overlap_operator(benign, harmful, pseudo)
    torch.testing.assert_close(dense(operator), expected)
    reversed_order = projector(pseudo) @ projector(harmful) @ (identity - projector(benign))
    assert not torch.allclose(dense(operator), reversed_order)


def test_operator_is_a_contraction_of_bounded_rank(bases: list[torch.Tensor]) -> None:
    omega = dense(overlap_operator(*bases))
    assert torch.linalg.matrix_norm(omega, 2) <= 1 + 1e-12
    assert torch.linalg.matrix_rank(omega) <= RANK


def test_operator_ignores_what_is_not_pseudo_harmful_and_leaves_nothing_benign(
    bases: list[torch.Tensor],
) -> None:
    benign, harmful, pseudo = bases
    omega = dense(overlap_operator(benign, harmful, pseudo))
    vector = random_matrix(D_OUT, 1, 3)
    outside = vector - projector(pseudo) @ vector
    torch.testing.assert_close(omega @ outside, torch.zeros_like(outside))
    torch.testing.assert_close(benign.T @ omega, torch.zeros(RANK, D_OUT, dtype=torch.float64))


def test_equal_benign_and_harmful_subspaces_leave_nothing_to_prune(bases: list[torch.Tensor]) -> None:
    omega = dense(overlap_operator(bases[0], bases[0], bases[2]))
    torch.testing.assert_close(omega, torch.zeros_like(omega))


def test_hand_computed_operator_in_the_plane() -> None:
    # Benign along y, harmful and pseudo-harmful along (1, 1) / sqrt 2: Omega = (I - yy^T) P = [[.5, .5], [0, 0]].
    diagonal = torch.tensor([[0.5], [0.5]], dtype=torch.float64).sqrt()
    y = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    operator = overlap_operator(y, diagonal, diagonal)
    torch.testing.assert_close(dense(operator), torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64))
    weight = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([[1.5, -1.0], [0.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(pruned_weight(weight, operator, 0.5), expected)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_pruned_weight_equals_the_dense_formula(bases: list[torch.Tensor], strength: float) -> None:
    weight = random_matrix(D_OUT, D_IN, 4)
    operator = overlap_operator(*bases)
    expected = (torch.eye(D_OUT, dtype=torch.float64) - strength * dense(operator)) @ weight
    torch.testing.assert_close(pruned_weight(weight, operator, strength), expected)


def test_strength_zero_is_the_identity_to_the_bit(bases: list[torch.Tensor]) -> None:
    weight = random_matrix(D_OUT, D_IN, 4).float()
    operator = overlap_operator(*(u.float() for u in bases))
    assert torch.equal(pruned_weight(weight, operator, 0.0), weight)


def test_float32_stays_close_to_float64(bases: list[torch.Tensor]) -> None:
    weight = random_matrix(D_OUT, D_IN, 4)
    exact = pruned_weight(weight, overlap_operator(*bases), 0.9)
    single = pruned_weight(weight.float(), overlap_operator(*(u.float() for u in bases)), 0.9)
    torch.testing.assert_close(single.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_energy_obeys_the_bound_of_theorem_3_2(bases: list[torch.Tensor], seed: int) -> None:
    weight = random_matrix(D_OUT, D_IN, seed)
    operator = overlap_operator(*bases)
    expected = torch.linalg.matrix_norm(dense(operator) @ weight) ** 2 / torch.linalg.matrix_norm(weight) ** 2
    assert relative_energy(operator, weight) == pytest.approx(float(expected), rel=1e-9)
    assert relative_energy(operator, weight) <= RANK / stable_rank(weight)


def test_stable_rank_against_a_full_svd_and_known_matrices() -> None:
    weight = random_matrix(D_OUT, D_IN, 1)
    values = torch.linalg.svdvals(weight)
    assert stable_rank(weight) == pytest.approx(float(values.square().sum() / values[0] ** 2), rel=1e-6)
    assert stable_rank(torch.eye(8)) == pytest.approx(8, rel=1e-5)
    assert stable_rank(torch.outer(torch.arange(1.0, 6), torch.arange(1.0, 9))) == pytest.approx(1, rel=1e-5)


def test_harmful_overlap_is_one_when_the_operator_is_the_harmful_projector(bases: list[torch.Tensor]) -> None:
    harmful = bases[1]
    assert harmful_overlap(OverlapOperator(harmful, harmful), harmful) == pytest.approx(1)
    operator = overlap_operator(*bases)
    expected = torch.linalg.matrix_norm(dense(operator) @ harmful) ** 2 / RANK
    assert harmful_overlap(operator, harmful) == pytest.approx(float(expected))


def test_rank_above_the_number_of_prompts_is_refused() -> None:
    with pytest.raises(InputError, match="Rank 31"):
        basis(random_matrix(D_OUT, COUNT, 0), 31)


def test_fewer_independent_directions_than_the_rank_are_refused() -> None:
    flat = random_matrix(D_OUT, 3, 0) @ random_matrix(3, COUNT, 1)
    assert basis(flat, 3).shape == (D_OUT, 3)
    with pytest.raises(InputError, match="fewer than 4 independent directions"):
        basis(flat, 4)


def test_a_basis_survives_an_svd_that_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random_matrix(12, 9, seed=3)
    expected = basis(matrix, 4)

    def fail(*args: object, **options: object) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "svd", fail)
    found = basis(matrix, 4)
    torch.testing.assert_close(found @ found.T, expected @ expected.T)


def test_what_a_gpu_runs_equals_what_a_cpu_runs() -> None:
    torch.manual_seed(3)
    activations = torch.randn(40, 9, dtype=torch.float64)
    left, values = svd_by_qr(activations)
    torch.testing.assert_close(values, torch.linalg.svdvals(activations))
    torch.testing.assert_close(left.T @ left, torch.eye(9, dtype=torch.float64))
    torch.testing.assert_close((left * values.square()) @ left.T, activations @ activations.T)
    for weight in (activations, activations.T, activations.float()):
        start = torch.ones(9, dtype=weight.dtype).numpy()
        found = svds(products_on_device(weight), k=1, v0=start, return_singular_vectors=False)[0]
        assert found == pytest.approx(float(values[0]), rel=1e-5)
