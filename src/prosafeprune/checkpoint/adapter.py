"""A changed model as a LoRA adapter: the edit of a matrix is a product of two thin matrices, so the adapter is exact.

The method does not change biases. Every adapter has the scaling ``alpha / r = 1``: per module and, for servers that
ignore patterns, globally. PEFT adds the edits of experts to their parameter, which stacks the matrices of all of them.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from prosafeprune.checkpoint.expert_factors import rank_of_experts, stacked_experts
from prosafeprune.checkpoint.writer import Located
from prosafeprune.editing.edits import LowRankEdit, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.adapters import KEY_PREFIX, insert_adapter, without_adapter
from prosafeprune.model.experts import is_experts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.parameter_adapters import wrapper_names
from prosafeprune.model.source import ADAPTER_WEIGHTS, ModelSource
from prosafeprune.model.submodule import Submodule, dense_weight
from prosafeprune.progress import Advance

FEED_FORWARD = ("gate", "up", "down")
"""Kinds of the matrices between the layers of attention."""


class LoraAdapter:
    """The edits of a model as two factors for each stored parameter, in float32.

    Matrices named in ``located`` are read from disk; those of a quantised base model are dequantised instead.
    """

    def __init__(
        self, loaded: LoadedModel, base: ModelSource, located: Located, edits: Sequence[PruningEdit | LowRankEdit]
    ) -> None:
        self._loaded, self._base = loaded, base
        self._changes: dict[str, LowRankChange] = {}
        """By the name of the module in which PEFT keeps the factors."""
        self._modules: dict[str, int] = {}
        """The rank of each linear module."""
        self._parameters: list[str] = []
        """The parameters, whose factors all have the adapter's rank."""
        self._names: set[str] = set()
        grouped = {name: self._parts(group, located) for name, group in _by_parameter(edits)}
        self._rank = max(rank_of(parts) for parts in grouped.values())
        has_experts = any(is_experts(module) for module in loaded.model.modules())
        wrappers = wrapper_names(parts[0][0] for parts in grouped.values() if parts[0][0].expert is not None)
        for name, parts in grouped.items():
            submodule = parts[0][0]
            if has_experts and is_targeted_by_parameter(submodule):
                self._parameters.append(name)
                change = filled_up(parts, self._rank)
            else:
                change = stacked(parts)
                self._modules[submodule.module_name] = int(change.a.shape[0])
            self._changes[wrappers.get(name, submodule.module_name)] = change
        self._transposed = any(isinstance(edit.submodule.module, Conv1D) for edit in edits)
        self._weights = save(self._tensors(), metadata={"format": "pt"})

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def names(self) -> list[str]:
        """Names on disk of the base's tensors that it changes."""
        return sorted(self._names)

    @property
    def adapter_sha256(self) -> str:
        """The hash of its weights file."""
        return hashlib.sha256(self._weights).hexdigest()

    @property
    def sha256(self) -> str:
        """The hash of its weights file."""
        return self.adapter_sha256

    def apply_in_memory(self, advance: Advance) -> None:
        """Attach the adapter to the base model in memory."""
        insert_adapter(self._loaded, self._config(), {name: (c.a, c.b) for name, c in self._changes.items()})
        advance(len(self))

    def undone_in_memory(self) -> AbstractContextManager[None]:
        """Switch the adapter off inside the context, which leaves the base model."""
        return without_adapter(self._loaded)

    def write(self, folder: Path, advance: Advance) -> None:
        """Write weights and config into an existing folder."""
        self._save(folder)
        advance(len(self))

    def _parts(
        self, edits: Sequence[PruningEdit | LowRankEdit], located: Located
    ) -> list[tuple[Submodule, LowRankChange]]:
        """Return what the edits of one parameter add to its submodules; tensors are read one at a time."""
        parts, name, values = [], None, torch.empty(0)
        for edit in edits:
            submodule, found = edit.submodule, located.get(edit.submodule.name)
            if found is None:
                weight = submodule.take(dense_weight(submodule.module).cpu())
                self._names.add(submodule.parameter_name)
            else:
                if found.name != name:
                    name, values = found.name, found.tensor.read()
                weight = found.layout.take(values)
                self._names.add(found.name)
            parts.append((submodule, _change(edit, weight)))
        return parts

    def _local_base(self, folder: Path | None) -> str:
        base = self._base.path.resolve()
        return str(base) if folder is None else os.path.relpath(base, folder.resolve())

    def _save(self, folder: Path) -> None:
        (folder / ADAPTER_WEIGHTS).write_bytes(self._weights)
        self._config(folder).save_pretrained(str(folder))
        path = folder / "adapter_config.json"  # PEFT writes sets in an order that varies between runs
        config = json.loads(path.read_text(encoding="utf-8"))
        for targets in ("target_modules", "target_parameters"):
            config[targets] = sorted(config[targets] or []) or None
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for module_name, change in self._changes.items():
            tensors[f"{KEY_PREFIX}{module_name}.lora_A.weight"] = change.a.contiguous()
            tensors[f"{KEY_PREFIX}{module_name}.lora_B.weight"] = change.b.contiguous()
        return tensors

    def _config(self, folder: Path | None = None) -> Any:
        """Return PEFT's config; in one that is written into ``folder``, a local base has its path from there."""
        from peft import LoraConfig

        others = {name: rank for name, rank in self._modules.items() if rank != self._rank}
        return LoraConfig(
            task_type="CAUSAL_LM",
            inference_mode=True,
            base_model_name_or_path=self._base.name if self._base.is_hub else self._local_base(folder),
            revision=self._base.revision,
            target_modules=list(self._modules),
            target_parameters=self._parameters or None,
            r=self._rank,
            lora_alpha=self._rank,
            rank_pattern=others,
            alpha_pattern=dict(others),
            lora_dropout=0.0,
            fan_in_fan_out=self._transposed,
        )


def is_targeted_by_parameter(submodule: Submodule) -> bool:
    """Return whether, in a model with experts, an adapter targets a submodule's parameter and not its module.

    The experts, which are parameters, and the matrices of dense layers and shared experts: PEFT 0.21 takes modules
    named gate_proj, up_proj or down_proj for those of experts in adapters made for transformers 4.
    """
    return submodule.expert is not None or submodule.kind in FEED_FORWARD


def rank_of(parts: Sequence[tuple[Submodule, LowRankChange]]) -> int:
    """Return the rank that the changes of one stored parameter need together."""
    return rank_of_experts(parts) if parts[0][0].expert is not None else sum(change.b.shape[1] for _, change in parts)


def filled_up(parts: Sequence[tuple[Submodule, LowRankChange]], rank: int) -> LowRankChange:
    """Return the change of a stored parameter with ``rank`` directions, for each expert if it holds experts.

    All parameters of an adapter have the same rank: PEFT 0.21 applies rank patterns to parameters, but warns that it
    does not.
    """
    if parts[0][0].expert is not None:
        return stacked_experts(parts, rank)
    change = stacked(parts)
    more = rank - change.b.shape[1]
    return LowRankChange(functional.pad(change.b, (0, more)), functional.pad(change.a, (0, 0, 0, more)))


def stacked(parts: Sequence[tuple[Submodule, LowRankChange]]) -> LowRankChange:
    """Return the change of a stored matrix from the changes of its submodules.

    The ``A`` are concatenated, and each ``B`` fills the rows of its submodule, so the ranks add up: to three times the
    plan's where q, k and v are one matrix.
    """
    d_out, _ = parts[0][0].stored_shape
    b = torch.zeros(d_out, sum(change.b.shape[1] for _, change in parts))
    start = 0
    for submodule, change in parts:
        rank = change.b.shape[1]
        rows = slice(None) if submodule.rows is None else submodule.rows
        b[rows, start : start + rank] = change.b
        start += rank
    return LowRankChange(b, torch.cat([change.a for _, change in parts]))


def unstacked(change: LowRankChange, submodules: Sequence[Submodule], rank: int) -> list[LowRankChange]:
    """Return the changes of the submodules of one stored matrix, given the plan's rank; the inverse of :func:`stacked`.

    Zeros with which the factors were filled up are left out.

    Raises:
        InputError: the factors' shapes do not fit the plan.
    """
    shapes = [submodule.shape for submodule in submodules]
    ranks = [min(rank, d_out) for d_out, _ in shapes]
    b, a = change.b, change.a
    d_out, d_in = submodules[0].stored_shape
    needed = sum(ranks)
    fits = b.shape[0] == d_out and a.shape[1] == d_in and b.shape[1] == a.shape[0] >= needed
    if not fits or bool(b[:, needed:].any()):
        raise InputError(
            f"{submodules[0].module_name}: the adapter's factors of {tuple(b.shape)} and {tuple(a.shape)} "
            f"do not fit a matrix of {d_out} x {d_in} and rank {rank}. Make the adapter again."
        )
    changes, start = [], 0
    for submodule, own_rank in zip(submodules, ranks, strict=True):
        rows = slice(None) if submodule.rows is None else submodule.rows
        changes.append(
            LowRankChange(
                b[rows, start : start + own_rank].contiguous(),
                a[start : start + own_rank].contiguous(),
            )
        )
        start += own_rank
    return changes


def _change(edit: PruningEdit | LowRankEdit, weight: torch.Tensor) -> LowRankChange:
    return edit.change if isinstance(edit, LowRankEdit) else edit.change(weight)


def _by_parameter(edits: Sequence[PruningEdit | LowRankEdit]) -> list[tuple[str, list[PruningEdit | LowRankEdit]]]:
    """Return the edits of each stored parameter, by its name; it may hold several submodules, fused or of experts."""
    ordered = sorted(edits, key=_parameter_name)  # keeps the submodules of a parameter in their order
    return [(name, list(group)) for name, group in groupby(ordered, key=_parameter_name)]


def _parameter_name(edit: PruningEdit | LowRankEdit) -> str:
    return edit.submodule.parameter_name
