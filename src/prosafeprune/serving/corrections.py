"""Edits as low-rank corrections of a forward pass: ``y + lambda B (A x)`` for ``W' = W + lambda B A`` (Eq. 3).

The base model's weights stay as they are, so rows of one batch may run under different edits and strengths, and a new
strength takes effect at the next pass.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from prosafeprune.model.experts import OnExpertInput, watched_experts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.serving.served_edit import MatrixKey, ServedEdit, Strengths


@dataclass(frozen=True, eq=False)
class Applied:
    """An edit at the strengths of one request."""

    edit: ServedEdit
    strengths: Strengths


@dataclass(frozen=True)
class _Group:
    """The rows of a pass that run under one edit."""

    edit: ServedEdit
    rows: torch.Tensor
    """Indices of the group's rows in the batch, ``(n,)``."""
    by_layer: dict[int, torch.Tensor]
    """Strength of each row ``(n,)`` by layer, without layers in which all are 0."""
    everywhere: bool
    """Whether the group is the complete batch, in order."""


class Corrections:
    """Hooks on a model's matrices that add the edits of each row; without rows, the model is the base model."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._groups: list[_Group] = []
        self._rows = 0
        self._hooked: set[str] = set()
        self._hooks = ExitStack()

    def prepare(self, edit: ServedEdit) -> None:
        """Put hooks on the modules that an edit changes, if they have none yet."""
        for key in edit.factors:
            if key.module_name in self._hooked:
                continue
            self._hooked.add(key.module_name)
            module = self.loaded.model.get_submodule(key.module_name)
            if key.expert is None:
                self._hooks.callback(module.register_forward_hook(self._hook(key)).remove)
            else:
                self._hook_experts(module, key.module_name)

    def use(self, rows: Sequence[Applied | None]) -> None:
        """Set the edit of each row for the next forward passes; None is the base model."""
        self._rows = len(rows)
        by_edit: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            if row is not None and any(row.strengths.values()):
                by_edit.setdefault(id(row.edit), []).append(number)
        self._groups = [self._group(rows, numbers) for numbers in by_edit.values()]

    def close(self) -> None:
        """Remove the hooks."""
        self._groups = []
        self._hooks.close()
        self._hooked.clear()

    def _group(self, rows: Sequence[Applied | None], numbers: Sequence[int]) -> _Group:
        members = [row for number in numbers if (row := rows[number]) is not None]
        edit, device = members[0].edit, self.loaded.device
        by_layer = {}
        for layer in edit.layers:
            values = [row.strengths.get(layer, 0.0) for row in members]
            if any(values):
                by_layer[layer] = torch.tensor(values, device=device)
        return _Group(edit, torch.tensor(numbers, device=device), by_layer, len(numbers) == len(rows))

    def _hook(self, key: MatrixKey) -> Any:
        def correct(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            shape = output.shape
            for group in self._groups:
                strengths = group.by_layer.get(group.edit.layer_of.get(key, -1))
                if strengths is None:
                    continue
                # Some architectures flatten rows and tokens before a matrix.
                inputs = arguments[0].reshape(self._rows, -1, arguments[0].shape[-1])
                outputs = output.reshape(self._rows, -1, shape[-1])
                rows, change = group.rows.to(output.device), group.edit.factors[key]
                read = (inputs if group.everywhere else inputs[rows]) @ change.a.T
                added = (read * strengths.to(read)[:, None, None]) @ change.b.T
                output = outputs + added if group.everywhere else outputs.index_add(0, rows, added)
            return output.reshape(shape)

        return correct

    def _hook_experts(self, module: nn.Module, name: str) -> None:
        tokens_of_pass: list[int] = []

        def count(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            tokens_of_pass[:] = [arguments[0].shape[0]]

        self._hooks.callback(module.register_forward_pre_hook(count).remove)
        self._hooks.enter_context(watched_experts(module, self._on_expert(name, tokens_of_pass)))

    def _on_expert(self, name: str, tokens_of_pass: list[int]) -> OnExpertInput:
        def correct(expert: int, parameter: str, tokens: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor | None:
            key, added = MatrixKey(name, parameter, expert), None
            for group in self._groups:
                strengths = group.by_layer.get(group.edit.layer_of.get(key, -1))
                if strengths is None:
                    continue
                change = group.edit.factors[key]
                of_row = strengths.new_zeros(self._rows).index_copy(0, group.rows, strengths).to(inputs)
                of_token = of_row[tokens // (tokens_of_pass[0] // self._rows)]
                part = (inputs @ change.a.T * of_token[:, None]) @ change.b.T
                added = part if added is None else added + part
            return added

        return correct
