"""A changed model as a LoRA adapter: the edit of a matrix is a product of two thin matrices, so the adapter is exact.

The method does not change biases. Every adapter has the scaling ``alpha / r = 1``: per module and, for servers that
ignore patterns, globally.
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
from torch import nn
from transformers.pytorch_utils import Conv1D

from prosafeprune.checkpoint.writer import Located
from prosafeprune.editing.edits import LowRankEdit, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.adapters import KEY_PREFIX, insert_adapter, without_adapter
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import ADAPTER_WEIGHTS, ModelSource
from prosafeprune.model.submodule import Submodule, dense_weight
from prosafeprune.progress import Advance


class LoraAdapter:
    """The edits of a model as two factors for each stored matrix, in float32.

    Matrices named in ``located`` are read from disk; those of a quantised base model are dequantised instead.
    """

    def __init__(
        self, loaded: LoadedModel, base: ModelSource, located: Located, edits: Sequence[PruningEdit | LowRankEdit]
    ) -> None:
        self._loaded, self._base = loaded, base
        self._changes: dict[str, LowRankChange] = {}
        self._names: list[str] = []
        for module_name, group in _by_module(edits):
            submodule = group[0].submodule
            found = located.get(submodule.name)
            matrix = dense_weight(submodule.module).cpu() if found is None else found.tensor.read()
            parts = [(edit.submodule, _change(edit, matrix)) for edit in group]
            self._changes[module_name] = stacked(parts)
            self._names.append(submodule.parameter_name if found is None else found.name)
        self._transposed = any(edit.submodule.transposed for edit in edits)
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

    def _local_base(self, folder: Path | None) -> str:
        base = self._base.path.resolve()
        return str(base) if folder is None else os.path.relpath(base, folder.resolve())

    def _save(self, folder: Path) -> None:
        (folder / ADAPTER_WEIGHTS).write_bytes(self._weights)
        self._config(folder).save_pretrained(str(folder))
        path = folder / "adapter_config.json"  # PEFT writes sets in an order that varies between runs
        config = json.loads(path.read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])
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

        ranks = {module_name: int(change.a.shape[0]) for module_name, change in self._changes.items()}
        rank = max(ranks.values())
        others = {module_name: other for module_name, other in ranks.items() if other != rank}
        return LoraConfig(
            task_type="CAUSAL_LM",
            inference_mode=True,
            base_model_name_or_path=self._base.name if self._base.is_hub else self._local_base(folder),
            revision=self._base.revision,
            target_modules=list(ranks),
            r=rank,
            lora_alpha=rank,
            rank_pattern=others,
            alpha_pattern=dict(others),
            lora_dropout=0.0,
            fan_in_fan_out=self._transposed,
        )


def require_adaptable(anatomy: Anatomy) -> None:
    """Raise InputError when a matrix of the model cannot be changed by a LoRA adapter."""
    for submodule in anatomy.submodules:
        if not isinstance(submodule.module, nn.Linear | Conv1D):
            raise InputError(
                f"{submodule.name}: is not a linear layer, so an adapter cannot hold its edit. "
                "Choose --format checkpoint."
            )


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

    Raises:
        InputError: the factors' shapes do not fit the plan.
    """
    shapes = [submodule.shape for submodule in submodules]
    ranks = [min(rank, d_out) for d_out, _ in shapes]
    b, a = change.b, change.a
    d_out, d_in = submodules[0].stored_shape
    if tuple(b.shape) != (d_out, sum(ranks)) or tuple(a.shape) != (sum(ranks), d_in):
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


def _change(edit: PruningEdit | LowRankEdit, matrix: torch.Tensor) -> LowRankChange:
    return edit.change if isinstance(edit, LowRankEdit) else edit.change(edit.submodule.take(matrix))


def _by_module(edits: Sequence[PruningEdit | LowRankEdit]) -> list[tuple[str, list[PruningEdit | LowRankEdit]]]:
    """Return the edits of each stored matrix, by module name; one fused matrix may hold several submodules."""
    ordered = sorted(edits, key=_module_name)  # keeps the submodules of a matrix in their order
    return [(name, list(group)) for name, group in groupby(ordered, key=_module_name)]


def _module_name(edit: PruningEdit | LowRankEdit) -> str:
    return edit.submodule.module_name
