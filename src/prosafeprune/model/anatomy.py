"""The submodules of a decoder: every weight matrix of every layer that the method may edit, found generically."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from prosafeprune.errors import InputError
from prosafeprune.model.dense import dense_weight, matrix_shape
from prosafeprune.model.fused import fused_rows

KINDS = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "out_proj": "o",
    "dense": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "c_fc": "up",
    "fc1": "up",
    "fc_in": "up",
    "dense_h_to_4h": "up",
    "fc2": "down",
    "fc_out": "down",
    "dense_4h_to_h": "down",
}
"""The paper's word for a matrix by the last part of its name; any other matrix is called by that part itself."""


@dataclass(frozen=True)
class Submodule:
    """One weight matrix ``W (d_out, d_in)`` of one decoder layer, possibly part of a fused one."""

    layer: int
    kind: str
    """The paper's word: q, k, v, o, gate, up, down; or the module's own last name."""
    module_name: str
    """Full name in the model, e.g. ``model.layers.3.mlp.up_proj``."""
    module: nn.Module
    rows: torch.Tensor | None = None
    """Output rows of the stored matrix that belong to this submodule; None for all."""

    @property
    def name(self) -> str:
        """A name unique in the model, e.g. ``model.layers.3.self_attn.qkv_proj[k]``."""
        return f"{self.module_name}[{self.kind}]" if self.rows is not None else self.module_name

    @property
    def parameter_name(self) -> str:
        """Full name of the stored matrix."""
        return f"{self.module_name}.weight"

    @property
    def transposed(self) -> bool:
        """GPT-2's Conv1D stores ``(d_in, d_out)``."""
        return isinstance(self.module, Conv1D)

    def take(self, stored: torch.Tensor) -> torch.Tensor:
        """Return this submodule's ``W (d_out, d_in)`` out of the stored matrix, in float32."""
        weight = stored.T if self.transposed else stored
        return (weight if self.rows is None else weight[self.rows.to(weight.device)]).float()

    def weight(self) -> torch.Tensor:
        """Return ``W (d_out, d_in)`` as the model in memory has it, in float32; a quantised one dequantised."""
        return self.take(dense_weight(self.module))

    def put(self, stored: torch.Tensor, weight: torch.Tensor) -> None:
        """Write ``W (d_out, d_in)`` into the stored matrix in place, rounding once to its dtype."""
        target = stored.T if self.transposed else stored
        if self.rows is None:
            target.copy_(weight)
        else:
            target[self.rows.to(target.device)] = weight.to(target.dtype)

    def bias(self) -> torch.Tensor | None:
        """Return this submodule's bias ``(d_out,)`` in float32, or None."""
        bias = getattr(self.module, "bias", None)
        if not isinstance(bias, torch.Tensor):
            return None
        return (bias if self.rows is None else bias[self.rows.to(bias.device)]).float()


@dataclass(frozen=True)
class Anatomy:
    """The decoder layers of a model and the submodules found in them."""

    layers: nn.ModuleList
    layers_name: str
    submodules: tuple[Submodule, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    """Matrices left alone that a user might expect to be edited, by name without the layer number, with the reason."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    def of_layer(self, layer: int) -> tuple[Submodule, ...]:
        """Return the submodules of one layer."""
        return tuple(submodule for submodule in self.submodules if submodule.layer == layer)

    def describe(self) -> list[str]:
        """Return one line for each kind of submodule: how many there are, and their shape."""
        shapes: dict[str, Counter[str]] = {}
        for submodule in self.submodules:
            d_out, d_in = submodule_shape(submodule)
            shapes.setdefault(submodule.kind, Counter())[f"{d_out} x {d_in}"] += 1
        lines = []
        for kind, counts in shapes.items():
            parts = ", ".join(f"{count} of {shape}" for shape, count in counts.items())
            lines.append(f"{kind}: {parts}")
        return lines


def submodule_shape(submodule: Submodule) -> tuple[int, int]:
    """Return ``(d_out, d_in)`` without copying the weight."""
    d_out, d_in = matrix_shape(submodule.module)
    return (d_out if submodule.rows is None else len(submodule.rows)), d_in


def find_anatomy(model: Any) -> Anatomy:
    """Find the decoder layers and their submodules.

    The layers are the one ModuleList as long as the text config says there are layers. Every ``nn.Linear`` and
    ``Conv1D`` in them is a submodule, except routers and gates to a single output.

    Raises:
        InputError: not exactly one such list, or a layer in which no submodule is found.
    """
    config = model.config.get_text_config(decoder=True)
    if config.is_encoder_decoder:
        raise InputError(
            f"{config.model_type}: has an encoder and a decoder, which is not supported. Give a decoder-only model."
        )
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers
    ]
    if len(lists) > 1:  # a vision tower may be as deep as the text model
        inside = set(model.get_decoder().modules())
        lists = [(name, module) for name, module in lists if module in inside]
    if len(lists) != 1:
        found = ", ".join(name for name, _ in lists) or "none"
        raise InputError(
            f"{config.model_type}: expected one list of {config.num_hidden_layers} decoder layers, found: {found}. "
            "This architecture is not supported."
        )
    layers_name, layers = lists[0]
    submodules: list[Submodule] = []
    skipped: dict[str, str] = {}
    for number, layer in enumerate(layers):
        of_layer = _submodules_of_layer(layer, number, f"{layers_name}.{number}", config, skipped)
        if not of_layer:
            raise InputError(
                f"{config.model_type}: layer {number} holds no linear matrix that can be edited. "
                "This architecture is not supported."
            )
        submodules += of_layer
    return Anatomy(layers, layers_name, tuple(submodules), skipped)


def _submodules_of_layer(
    layer: nn.Module, number: int, layer_name: str, config: Any, skipped: dict[str, str]
) -> list[Submodule]:
    found: list[Submodule] = []
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            found += _of_matrix(module, name, number, layer_name, config)
        else:
            for parameter_name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim == 3 and "expert" in name:
                    skipped[f"{name}.{parameter_name}".lstrip(".")] = "fused experts"
    return found


def _of_matrix(module: nn.Module, name: str, number: int, layer_name: str, config: Any) -> list[Submodule]:
    d_out, _ = matrix_shape(module)
    if d_out == 1 or _is_router(name, d_out, config):
        return []
    full_name = f"{layer_name}.{name}"
    rows = fused_rows(name, d_out, config)
    if rows is not None:
        return [Submodule(number, kind, full_name, module, part) for kind, part in rows.items()]
    return [Submodule(number, _kind(name), full_name, module)]


def _kind(name: str) -> str:
    last = name.rpartition(".")[2]
    if last == "c_proj":  # GPT-2 calls two different matrices so
        return "o" if "attn" in name else "down"
    return KINDS.get(last, last)


def _is_router(name: str, d_out: int, config: Any) -> bool:
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    parts = name.split(".")
    return any("router" in part for part in parts) or ("gate" in parts and d_out == experts)
