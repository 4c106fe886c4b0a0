"""A LoRA adapter on a model in memory, through PEFT: added for training, read as edits, and removed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.adapters import switched_off
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.submodule import Submodule, is_quantised, layout_of

ADAPTER = "prosafeprune"


@dataclass(frozen=True)
class LoraTraining:
    """An adapter in training."""

    matrices: Sequence[Submodule]
    layers: Mapping[str, Any]
    """The layers that PEFT has put in place of the matrices, by module name."""

    @property
    def parameters(self) -> list[torch.Tensor]:
        """The trained factors, float32: ``A (rank, d_in)`` and ``B (d_out, rank)`` of each matrix."""
        return [factor for layer in self.layers.values() for factor in _factors(layer)]

    def switched_off(self) -> AbstractContextManager[None]:
        """Return a context that leaves the adapter out: the model is the one before the training."""
        return switched_off(self.layers.values())

    def learned(self) -> list[LowRankEdit]:
        """Return what the adapter adds to each matrix now."""
        return [_learned(submodule, self.layers[submodule.module_name]) for submodule in self.matrices]


def trainable_matrices(anatomy: Anatomy) -> list[Submodule]:
    """Return every stored matrix once, also one that fuses several submodules; experts are left alone.

    Raises:
        InputError: the weights are quantised.
    """
    whole = {
        submodule.module_name: replace(submodule, layout=layout_of(submodule.module))
        for submodule in anatomy.without_experts().submodules
    }
    if any(is_quantised(matrix.stored) for matrix in whole.values()):
        raise InputError("A quantised model cannot be trained here. Give the unquantised model.")
    return list(whole.values())


@contextmanager
def lora(model: Any, matrices: Sequence[Submodule], rank: int, seed: int) -> Iterator[LoraTraining]:
    """Add a new adapter of this rank to the matrices inside the context; its ``B`` factors are zero.

    Afterwards the model is what it was, bit for bit and in its structure.
    """
    from peft import LoraConfig, LoraModel

    names = {matrix.module_name for matrix in matrices}
    anatomy = find_anatomy(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=sorted(name.removeprefix(f"{anatomy.layers_name}.") for name in names),
        fan_in_fan_out=any(matrix.transposed for matrix in matrices),
    )
    with gradients_restored(model):
        model.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            # Given the model of a mixture, PEFT takes the names of dense layers' and shared experts' matrices for those
            # of fused experts, and leaves these matrices out.
            adapted = LoraModel(anatomy.layers, config, ADAPTER)
        try:
            layers = {name: module for name, module in model.named_modules() if name in names}
            for layer in layers.values():  # half precision would lose small steps
                layer.lora_A.float(), layer.lora_B.float()
            yield LoraTraining(matrices, layers)
        finally:
            adapted.unload()


@contextmanager
def gradients_restored(model: Any) -> Iterator[None]:
    """Compute gradients without dropout inside the context; on exit, clear gradients and restore requires_grad."""
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        for name, parameter in model.named_parameters():
            # Interrupted while an adapter was being added, a model has parameters by other names.
            parameter.requires_grad_(trainable.get(name.replace(".base_layer.", "."), False))
            parameter.grad = None


def _factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def _learned(submodule: Submodule, layer: Any) -> LowRankEdit:
    a, b = (factor.detach().float().clone() for factor in _factors(layer))
    return LowRankEdit(submodule, LowRankChange(layer.scaling[ADAPTER] * b, a))
