"""The submodules of a decoder: every weight matrix of every layer that the method may edit, in any architecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prosafeprune.errors import InputError
from prosafeprune.model.experts import expert_submodules, is_experts
from prosafeprune.model.fused import config_of_layer, fused_rows
from prosafeprune.model.model_files import EXPERT_COUNTS
from prosafeprune.model.submodule import Submodule, layout_of, matrix_shape

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
    "output_linear": "down",
    "in_proj_z": "output_gate",
}
"""The paper's name for a matrix, by the last part of its module name; other matrices keep that part as their kind."""
STACKED_EXPERTS = "ParallelExperts"
"""End of the class name of matrices of experts in one parameter, which JetMoE names after linear layers."""
HEAD_GATES = {"in_proj_a", "in_proj_b", "in_proj_ba"}
"""Decay and write strength of each head of linear attention."""


class Skipped(StrEnum):
    """Why a matrix is not edited."""

    ROUTER = "a router"
    GATE = "a gate with one output"
    HEAD_GATES = "gates with one output per head"
    EXPERTS = "experts whose routing cannot be observed"
    ZERO = "all zeros"
    SHARED = "shared by several layers"


@dataclass(frozen=True)
class Anatomy:
    """The decoder layers of a model and the submodules found in them."""

    layers: nn.ModuleList
    layers_name: str
    submodules: tuple[Submodule, ...]
    skipped: dict[str, Skipped] = field(default_factory=dict)
    """Matrices that are not edited, by name in the layer, with the reason; ``*`` is any number."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    def of_layer(self, layer: int) -> tuple[Submodule, ...]:
        """Return the submodules of one layer."""
        return tuple(submodule for submodule in self.submodules if submodule.layer == layer)

    @property
    def has_experts(self) -> bool:
        """Whether there are experts, which only the tokens routed to them pass through."""
        return any(submodule.expert is not None for submodule in self.submodules)

    def without_experts(self) -> Anatomy:
        """Return the same without experts: with the submodules that every token passes through."""
        return replace(self, submodules=tuple(submodule for submodule in self.submodules if submodule.expert is None))

    def without_zeros(self, layers: Collection[int] | None = None) -> Anatomy:
        """Return the same without matrices in which every weight is zero, which have no outputs to find subspaces in.

        Only those of ``layers`` are looked at, if given; the others' weights may not be in memory.
        """
        return self.leaving_alone(
            [
                submodule
                for submodule in self.submodules
                if (layers is None or submodule.layer in layers) and submodule.is_zero()
            ]
        )

    def leaving_alone(self, zero: Collection[Submodule]) -> Anatomy:
        """Return the same without submodules that are known to be all zeros."""
        skipped = {**self.skipped, **{submodule.name: Skipped.ZERO for submodule in zero}}
        kept = tuple(submodule for submodule in self.submodules if submodule not in zero)
        return replace(self, submodules=kept, skipped=skipped) if zero else self

    def describe(self) -> list[str]:
        """Return one line for each kind of submodule: their number and shape."""
        shapes: dict[str, Counter[str]] = {}
        for submodule in self.submodules:
            kind = submodule.kind if submodule.expert is None else f"{submodule.kind} of experts"
            shapes.setdefault(kind, Counter())["{} x {}".format(*submodule.shape)] += 1
        lines = []
        for kind, counts in shapes.items():
            parts = ", ".join(f"{count} of {shape}" for shape, count in counts.items())
            lines.append(f"{kind}: {parts}")
        return lines


def find_anatomy(model: PreTrainedModel) -> Anatomy:
    """Find the decoder layers and their submodules.

    The layers are the one ModuleList with as many entries as the text config has layers. Every ``nn.Linear`` and
    ``Conv1D`` in them is a submodule, and so is every matrix of every expert, but not routers and gates with a single
    output. Matrices in which every weight is zero are left alone too.

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
    skipped: dict[str, Skipped] = {}
    for number, layer in enumerate(layers):
        own_config = config_of_layer(config, number)
        of_layer = _submodules_of_layer(layer, number, f"{layers_name}.{number}", own_config, skipped)
        if not of_layer:
            raise InputError(
                f"{config.model_type}: layer {number} has no linear matrix that can be edited. "
                "This architecture is not supported."
            )
        submodules += of_layer
    return Anatomy(layers, layers_name, _of_one_layer(submodules, layers_name, skipped), skipped).without_zeros()


def _of_one_layer(
    submodules: Sequence[Submodule], layers_name: str, skipped: dict[str, Skipped]
) -> tuple[Submodule, ...]:
    """Return those whose parameter no other layer has (Zamba): an edit of one layer would change the others too."""
    layers: dict[int, set[int]] = {}
    for submodule in submodules:
        layers.setdefault(_identity(submodule), set()).add(submodule.layer)
    kept = tuple(submodule for submodule in submodules if len(layers[_identity(submodule)]) == 1)
    skipped.update(
        {
            _with_any_number(submodule.parameter_name.removeprefix(f"{layers_name}.{submodule.layer}.")): Skipped.SHARED
            for submodule in submodules
            if len(layers[_identity(submodule)]) > 1
        }
    )
    return kept


def _identity(submodule: Submodule) -> int:
    return id(getattr(submodule.module, submodule.parameter))


def _submodules_of_layer(
    layer: nn.Module, number: int, layer_name: str, config: Any, skipped: dict[str, Skipped]
) -> list[Submodule]:
    found: list[Submodule] = []
    for name, module in layer.named_modules():
        full_name = f"{layer_name}.{name}"
        if is_experts(module):
            found += expert_submodules(module, number, full_name)
            continue
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim < 2:
                continue
            reason = _reason_to_skip(name, module, parameter, config)
            if reason is not None:
                skipped[_with_any_number(f"{name}.{parameter_name}")] = reason
            elif isinstance(module, nn.Linear | Conv1D):
                found += _of_matrix(module, name, number, full_name, config)
    return found


def _of_matrix(module: nn.Module, name: str, number: int, full_name: str, config: Any) -> list[Submodule]:
    fused = fused_rows(name, matrix_shape(module)[0], config)
    if fused is not None:
        return [Submodule(number, kind, full_name, module, layout_of(module, rows)) for kind, rows in fused.items()]
    return [Submodule(number, _kind(name), full_name, module, layout_of(module))]


def _reason_to_skip(name: str, module: nn.Module, parameter: nn.Parameter, config: Any) -> Skipped | None:
    parts = name.split(".")
    is_linear = isinstance(module, nn.Linear | Conv1D)
    outputs = matrix_shape(module)[0] if is_linear else len(parameter)
    if any("router" in part for part in parts) or ("gate" in parts and outputs == _number_of_experts(config)):
        return Skipped.ROUTER
    if is_linear and outputs == 1:
        return Skipped.GATE
    if parts[-1] in HEAD_GATES:
        return Skipped.HEAD_GATES
    # A list of experts, each with its own matrices, or stacked parameters whose layout is unknown.
    is_one_of_many = "experts" in parts and any(part.isdigit() for part in parts[parts.index("experts") :])
    is_stack = "expert" in name or type(module).__name__.endswith(STACKED_EXPERTS)
    if is_one_of_many or (not is_linear and is_stack):
        return Skipped.EXPERTS
    return None


def _number_of_experts(config: Any) -> int | None:
    return next((getattr(config, name) for name in EXPERT_COUNTS if getattr(config, name, None)), None)


def _with_any_number(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _kind(name: str) -> str:
    last = name.rpartition(".")[2]
    if last == "c_proj":  # GPT-2 has two matrices of this name
        return "o" if "attn" in name else "down"
    return KINDS.get(last, last)
