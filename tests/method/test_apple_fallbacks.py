"""What Apple's GPUs cannot do is done on the CPU, and comes back: the same edits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.simulated_apple import APPLE, SimulatedApple, on_apple

from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import token_divergence
from prosafeprune.method.energy import energy_bound, harmful_overlap, relative_energy, stable_rank
from prosafeprune.method.fitted_projection import fit_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator, pruned_weight
from prosafeprune.method.subspaces import basis, subspace_overlap
from prosafeprune.model.loading_checks import require_finite


@pytest.fixture
def apple() -> Iterator[None]:
    with SimulatedApple():
        yield


def test_the_simulation_refuses_what_the_device_does(apple: None) -> None:
    one = on_apple(torch.ones(3, 3))
    assert one.device == (one @ one).device == APPLE
    assert one.cpu().device.type == "cpu"
    with pytest.raises(TypeError, match="float64"):
        one.double()
    with pytest.raises(NotImplementedError):
        torch.linalg.qr(one)
    with pytest.raises(RuntimeError, match="same device"):
        one @ torch.ones(3, 3)
    with pytest.raises(TypeError):
        one.numpy()


def made(classes: list[torch.Tensor], weight: torch.Tensor) -> list[torch.Tensor | float]:
    """Return everything that an edit is made of, from the classes' outputs ``(d_out, n)``."""
    bases = [basis(one, 4) for one in classes]
    paper = overlap_operator(*bases)
    fitted = fit_projection(*classes, bases[2])
    operator = OverlapOperator(paper.left, fitted.of_share(0.3))
    rank = stable_rank(weight)
    return [
        pruned_weight(weight, paper, 0.7),
        pruned_weight(weight, operator, 0.7),
        rank,
        energy_bound(operator, rank),
        relative_energy(operator, weight),
        harmful_overlap(operator, bases[1]),
        subspace_overlap(bases[0], bases[1]),
    ]


@pytest.mark.parametrize("shape", [(24, 9), (9, 24)], ids=["tall", "wide"])
def test_edits_are_those_of_the_cpu(shape: tuple[int, int], apple: None) -> None:
    torch.manual_seed(0)
    classes, weight = [torch.randn(shape) for _ in range(3)], torch.randn(shape[0], 16)
    expected = made(classes, weight)
    found = made([on_apple(one) for one in classes], on_apple(weight))
    for one, other in zip(found, expected, strict=True):
        is_tensor = isinstance(one, torch.Tensor)
        assert not is_tensor or one.device == APPLE
        torch.testing.assert_close(one.cpu() if is_tensor else one, other, rtol=1e-4, atol=1e-5)


def test_checks_and_divergences_do_without_float64(apple: None) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 40)
    expected = token_divergence(logits.log_softmax(-1), logits + 0.1 * torch.randn(5, 40))
    torch.manual_seed(0)
    found = token_divergence(on_apple(torch.randn(5, 40)).log_softmax(-1), on_apple(logits + 0.1 * torch.randn(5, 40)))
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-3, atol=1e-5)
    require_finite([("w", on_apple(torch.ones(2, 2)))], "tiny")
    with pytest.raises(InputError, match="NaN or infinite"):
        require_finite([("w", on_apple(torch.tensor([[float("nan")]])))], "tiny")
