"""The training loop: the updates themselves, and gradients that are not numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import torch

from prosafeprune.errors import InputError
from prosafeprune.progress import EarlierSteps, ignore
from prosafeprune.training import loop
from prosafeprune.training.loop import Tuning, train

TUNING = Tuning(epochs=2, learning_rate=0.1, batch_size=2)


@pytest.fixture(params=[loop.SCALED_ON, ()], ids=["scaled", "as on Apple devices"])
def scaled_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SCALED_ON", request.param)


def parameter() -> torch.Tensor:
    return torch.tensor([1.0, -2.0, 3.0], requires_grad=True)


def interrupted(loss: Callable[[Sequence[float]], torch.Tensor], stop_after: int) -> Callable[..., torch.Tensor]:
    """Return a loss that ends the training as Ctrl-C does, after some batches."""
    calls = count()

    def loss_or_end(batch: Sequence[float]) -> torch.Tensor:
        if next(calls) == stop_after:
            raise KeyboardInterrupt
        return loss(batch)

    return loss_or_end


def test_updates_are_those_of_adamw_on_the_plain_loss() -> None:
    trained, expected = parameter(), parameter()

    def loss(weights: torch.Tensor, batch: Sequence[float]) -> torch.Tensor:
        return torch.stack([(weights * one).sin().sum() for one in batch]).mean()

    order: list[Sequence[float]] = []

    def recorded(batch: Sequence[float]) -> torch.Tensor:
        order.append(batch)
        return loss(trained, batch)

    steps = train([trained], [0.3, 0.7, 1.1], recorded, TUNING, ignore)
    optimizer = torch.optim.AdamW([expected], lr=0.1, weight_decay=0.0)
    for batch, step in zip(order, steps, strict=True):
        optimizer.zero_grad()
        value = loss(expected, batch)
        assert step.loss == pytest.approx(float(value.detach()))
        value.backward()
        optimizer.step()
    assert len(steps) == 4
    assert torch.equal(trained, expected)


@pytest.mark.usefixtures("scaled_or_not")
def test_a_step_without_finite_gradients_is_skipped() -> None:
    trained = parameter()

    def loss(batch: Sequence[float]) -> torch.Tensor:
        return (trained * batch[0]).sum()

    train([trained], [1.0], loss, Tuning(epochs=1, learning_rate=0.1), ignore)
    once = trained.detach().clone()
    assert not torch.equal(once, parameter())
    train([trained], [float("nan")], loss, Tuning(epochs=1, learning_rate=0.1), ignore)
    assert torch.equal(trained, once)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_no_room_for_gradients_is_one_line(error: Exception) -> None:
    def loss(batch: Sequence[float]) -> torch.Tensor:
        raise error

    with pytest.raises(InputError, match="Training: out of memory"):
        train([parameter()], [1.0], loss, TUNING, ignore)


@pytest.mark.usefixtures("scaled_or_not")
def test_many_such_steps_end_the_training() -> None:
    trained = parameter()
    with pytest.raises(InputError, match="gradients of 3 steps are not numbers"):
        train([trained], [0.0], lambda batch: (trained * torch.nan).sum(), Tuning(epochs=9), ignore)
    assert torch.equal(trained, parameter())


def test_small_gradients_survive_float16() -> None:
    trained = torch.zeros(1, requires_grad=True)

    def loss(batch: Sequence[float]) -> torch.Tensor:  # a gradient of 1e-8 rounds to zero in float16
        return (trained.half() * 1e-4).float().sum() * 1e-4

    train([trained], [0.0], loss, Tuning(epochs=1, learning_rate=0.5), ignore)
    assert float(trained.detach()) < -0.2


@pytest.mark.usefixtures("scaled_or_not")
def test_a_training_that_skipped_a_step_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    tuning, examples = Tuning(epochs=4, learning_rate=0.1, batch_size=2), [0.3, 0.7, 1.1]

    def run(stop_after: int, file: Path) -> torch.Tensor:
        trained, bad = parameter(), iter([] if file.exists() else [torch.nan])

        def loss(batch: Sequence[float]) -> torch.Tensor:
            return (trained * batch[0] * next(bad, 1.0)).sin().sum()

        with suppress(KeyboardInterrupt):
            train([trained], examples, interrupted(loss, stop_after), tuning, ignore, saved_in=file)
        return trained.detach()

    whole = run(99, tmp_path / "whole")
    run(5, tmp_path / "cut")  # the epoch of the first four batches is saved
    assert torch.equal(run(99, tmp_path / "cut"), whole)


def test_a_resumed_training_reports_the_examples_of_the_earlier_run_as_such(tmp_path: Path) -> None:
    steps: list[float] = []

    def run(stop_after: int) -> None:
        trained = parameter()
        loss = interrupted(lambda batch: (trained * batch[0]).sin().sum(), stop_after)
        with suppress(KeyboardInterrupt):
            train([trained], [0.3, 0.7, 1.1], loss, TUNING, steps.append, saved_in=tmp_path / "saved")

    run(3)  # the first epoch of two batches is saved
    assert steps == [2, 1, 2]
    steps.clear()
    run(99)
    assert steps == [3, 2, 1]
    assert [isinstance(each, EarlierSteps) for each in steps] == [True, False, False]
