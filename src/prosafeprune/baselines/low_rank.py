"""What the training methods share: low-rank changes of matrices as fitted parts, and the model that has them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch

from prosafeprune.baselines.method import BatchSetting, FittedParts, ModelChange
from prosafeprune.editing.edits import Edit, LowRankEdit, apply_edits
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.training.loop import Tuning
from prosafeprune.training.lora import trainable_matrices


class TrainedMethod(ModelChange):
    """A method that trains a LoRA adapter with AdamW at a constant learning rate; each has its own defaults."""

    rank: int
    learning_rate: float
    epochs: int
    examples_at_once: int

    def tuning(self, seed: int) -> Tuning:
        """Return the hyperparameters of the training."""
        return Tuning(
            epochs=self.epochs,
            rank=self.rank,
            learning_rate=self.learning_rate,
            batch_size=self.examples_at_once,
            seed=seed,
        )


class LowRankMethod(TrainedMethod):
    """A method whose fit is that adapter, merged into the weights in memory while the model answers."""

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the model with the adapter."""
        return partial(apply_edits, stored_edits(loaded, fitted.tensors))


def edited_generator(loaded: LoadedModel, batch_size: BatchSetting, edits: Sequence[Edit]) -> Generator:
    """Return a generator whose model has the edits while it answers."""
    return EditedGenerator(LocalGenerator(loaded, batch_size), partial(apply_edits, edits))


def factor_tensors(edits: Sequence[LowRankEdit]) -> dict[str, torch.Tensor]:
    """Return the factors of edits by name: ``A (rank, d_in)`` and ``B (d_out, rank)`` of each matrix."""
    tensors = {}
    for edit in edits:
        tensors[f"{edit.submodule.name}.a"] = edit.change.a
        tensors[f"{edit.submodule.name}.b"] = edit.change.b
    return tensors


def require_exact_factors(loaded: LoadedModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError unless tensors are finite factors of matrices of the model, both of each, and nothing else."""
    shapes = {matrix.name: matrix.stored_shape for matrix in trainable_matrices(find_anatomy(loaded.model))}
    named = {name.rpartition(".")[0] for name in tensors}
    if not named or set(tensors) != {f"{name}.{side}" for name in named for side in "ab"}:
        raise ValueError("it does not have two factors of each matrix")
    for name in sorted(named):
        a, b = tensors[f"{name}.a"], tensors[f"{name}.b"]
        if name not in shapes:
            raise ValueError(f"the model has no matrix {name}")
        if a.ndim != 2 or tuple(b.shape) != (shapes[name][0], len(a)) or a.shape[1] != shapes[name][1]:
            raise ValueError(f"the factors of {name} have other shapes")
        if not all(factor.dtype == torch.float32 and bool(factor.isfinite().all()) for factor in (a, b)):
            raise ValueError(f"the factors of {name} are not finite numbers in float32")


def scaled(edits: Sequence[LowRankEdit], strength: float) -> list[LowRankEdit]:
    """Return the edits with what they add multiplied by ``strength``."""
    return [LowRankEdit(edit.submodule, LowRankChange(strength * edit.change.b, edit.change.a)) for edit in edits]


def stored_edits(loaded: LoadedModel, tensors: dict[str, torch.Tensor]) -> list[LowRankEdit]:
    """Return the edits of a model whose factors these are, as :func:`factor_tensors` named them."""
    matrices = trainable_matrices(find_anatomy(loaded.model))
    return [
        LowRankEdit(matrix, LowRankChange(tensors[f"{matrix.name}.b"], tensors[f"{matrix.name}.a"]))
        for matrix in matrices
        if f"{matrix.name}.a" in tensors
    ]
