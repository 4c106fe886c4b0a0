"""One weight matrix of one decoder layer, its layout in the tensor that stores it, and its values if quantised."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS_AT_ONCE = 1024
"""Rows of the identity matrix that a quantised layer is run on at a time."""


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """Return ``(d_out, d_in)`` of an ``nn.Linear`` or ``Conv1D``; the stored tensor of a quantised one is packed."""
    if isinstance(module, Conv1D):
        return int(module.nf), int(module.nx)
    linear: Any = module
    return int(linear.out_features), int(linear.in_features)


def is_quantised(stored: torch.Tensor) -> bool:
    """Return whether a matrix is stored in a form that cannot be edited in place."""
    return not stored.dtype.is_floating_point


def dense_weight(module: nn.Module) -> torch.Tensor:
    """Return the stored matrix of a linear module or, when it is quantised, the ``(d_out, d_in)`` it multiplies with.

    The latter by running the module on the identity matrix: on some CPUs bitsandbytes repacks matrices at their first
    run, after which its own dequantisation, and PEFT's, return wrong numbers.
    """
    linear: Any = module
    weight: torch.Tensor = linear.weight
    if not is_quantised(weight):
        return weight.detach()
    identity = torch.eye(matrix_shape(module)[1], device=weight.device)
    return torch.cat([multiplied(module, rows) for rows in identity.split(ROWS_AT_ONCE)]).T


def multiplied(module: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Return ``X W^T`` for ``X (n, d_in)``, whatever form a linear module has W in: its outputs without the bias."""
    linear: Any = module
    bias, linear.bias = linear.bias, None
    try:
        with torch.no_grad():
            products: torch.Tensor = linear(rows)
            return products
    finally:
        linear.bias = bias


@dataclass(frozen=True, eq=False)
class Layout:
    """Where a matrix ``W (d_out, d_in)`` is in a stored tensor, which may hold others too."""

    rows: torch.Tensor | None = None
    """The output rows of the stored matrix that belong to W; None means all."""
    transposed: bool = False
    """Whether the stored matrix is ``(d_in, d_out)``."""
    expert: int | None = None
    """Index into a three-dimensional tensor of experts; None when the tensor is one matrix."""

    def matrix(self, stored: torch.Tensor) -> torch.Tensor:
        """Return a view of the stored matrix that contains W."""
        return stored if self.expert is None else stored[self.expert]

    def take(self, stored: torch.Tensor) -> torch.Tensor:
        """Return a copy of W from the stored tensor, in float32.

        Always a copy: the rounding of a product may depend on the memory alignment of its factors, and the alignment of
        a checkpoint's tensors depends on how it was read.
        """
        weight = self.matrix(stored).T if self.transposed else self.matrix(stored)
        return (weight if self.rows is None else weight[self.rows.to(weight.device)]).to(torch.float32, copy=True)

    def put(self, stored: torch.Tensor, weight: torch.Tensor) -> None:
        """Write W into the stored tensor in place, rounding once to its dtype."""
        target = self.matrix(stored).T if self.transposed else self.matrix(stored)
        if self.rows is None:
            target.copy_(weight)
        else:
            target[self.rows.to(target.device)] = weight.to(target.device, target.dtype)


@dataclass(frozen=True)
class Original:
    """The stored matrix that the matrix of a quantised module is a copy of."""

    read: Callable[[], torch.Tensor]
    """Reads the stored matrix ``(d_out, d_in)`` from disk."""
    dtype: torch.dtype
    """Dtype that the matrix is rounded to before it is quantised."""


@dataclass(frozen=True)
class Submodule:
    """One weight matrix ``W (d_out, d_in)`` of one decoder layer, possibly part of a fused one."""

    layer: int
    kind: str
    """The paper's name (q, k, v, o, gate, up, down), else the last part of the module's name."""
    module_name: str
    """Full name in the model, e.g. ``model.layers.3.mlp.up_proj``."""
    module: nn.Module
    layout: Layout = field(default_factory=Layout)
    """Where the matrix is in the parameter."""
    parameter: str = "weight"
    """Name, in the module, of the parameter that stores the matrix."""
    original: Original | None = None
    """Stored matrix of a module that was quantised as it was loaded; edits are made from it."""

    @property
    def name(self) -> str:
        """A name unique in the model, e.g. ``...self_attn.qkv_proj[k]``, or ``...mlp.experts.5.gate`` for an expert."""
        if self.expert is not None:
            return f"{self.module_name}.{self.expert}.{self.kind}"
        return f"{self.module_name}[{self.kind}]" if self.rows is not None else self.module_name

    @property
    def reads(self) -> str:
        """A name for its input; the gate and up matrices of an expert share one."""
        return self.module_name if self.expert is None else f"{self.module_name}.{self.expert}.{self.parameter}"

    @property
    def parameter_name(self) -> str:
        """Full name of the parameter that stores it."""
        return f"{self.module_name}.{self.parameter}"

    @property
    def stored(self) -> torch.Tensor:
        """The parameter that stores it."""
        stored: torch.Tensor = getattr(self.module, self.parameter)
        return stored.detach()

    @property
    def expert(self) -> int | None:
        """Which expert of its layer it belongs to; None outside experts."""
        return self.layout.expert

    @property
    def rows(self) -> torch.Tensor | None:
        """Output rows of the stored matrix that belong to it; None means all."""
        return self.layout.rows

    @property
    def transposed(self) -> bool:
        """Whether it is stored as ``(d_in, d_out)``."""
        return self.layout.transposed

    @property
    def stored_shape(self) -> tuple[int, int]:
        """``(d_out, d_in)`` of the stored matrix that contains it, without copying the weight."""
        if self.expert is None:
            return matrix_shape(self.module)
        first, second = (int(size) for size in self.layout.matrix(self.stored).shape)
        return (second, first) if self.transposed else (first, second)

    @property
    def shape(self) -> tuple[int, int]:
        """``(d_out, d_in)``, without copying the weight."""
        d_out, d_in = self.stored_shape
        return (d_out if self.rows is None else len(self.rows)), d_in

    def weight(self) -> torch.Tensor:
        """Return W in float32: of the model in memory, dequantised if need be, or the original of a quantised copy."""
        if self.original is not None:
            return self.take(self.original.read().to(self.stored.device))
        return self.take(dense_weight(self.module) if self.expert is None else self.stored)

    def is_zero(self) -> bool:
        """Return whether all of W is zero, as in layers added by LLaMA-Pro; False if it is not in memory."""
        if self.stored.is_meta or not self.stored.dtype.is_floating_point:
            return False
        matrix = self.layout.matrix(self.stored)
        matrix = matrix.T if self.transposed else matrix
        rows = torch.arange(self.shape[0]) if self.rows is None else self.rows
        # In chunks, since the first one already decides for nearly every matrix.
        return not any(bool(matrix[chunk.to(matrix.device)].any()) for chunk in rows.split(64))

    def take(self, stored: torch.Tensor) -> torch.Tensor:
        """Return W from the stored parameter, in float32."""
        return self.layout.take(stored)

    def put(self, stored: torch.Tensor, weight: torch.Tensor) -> None:
        """Write W into the stored parameter in place, rounding once to its dtype."""
        self.layout.put(stored, weight)

    def bias(self) -> torch.Tensor | None:
        """Return its bias ``(d_out,)`` in float32, or None."""
        bias = getattr(self.module, "bias" if self.parameter == "weight" else f"{self.parameter}_bias", None)
        if not isinstance(bias, torch.Tensor):
            return None
        bias = self.layout.matrix(bias)
        return (bias if self.rows is None else bias[self.rows.to(bias.device)]).float()


def layout_of(module: nn.Module, rows: torch.Tensor | None = None) -> Layout:
    """Return the layout of rows of a linear module's matrix in its weight: GPT-2's Conv1D stores it transposed."""
    return Layout(rows, transposed=isinstance(module, Conv1D))
