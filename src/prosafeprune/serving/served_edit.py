"""An edit kept as two thin factors a matrix, so that its strength is a number of each request and not a weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from prosafeprune.checkpoint.adapter import stacked
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.method.plan import Plan
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule

Strengths = Mapping[int, float]
"""The strength of each pruned layer, from 0 to the largest that its plan takes."""


class MatrixKey(NamedTuple):
    """A stored matrix: a parameter of a module, or one expert's part of it."""

    module_name: str
    parameter: str
    expert: int | None


@dataclass(frozen=True)
class ServedEdit:
    """The edit of a plan, with the factors of every matrix at strength 1, in the dtype and on the device it runs on."""

    name: str
    """The name by which requests ask for the edit."""
    plan: Plan
    """The plan, with the strengths that the edit was made for."""
    factors: Mapping[MatrixKey, LowRankChange]
    layer_of: Mapping[MatrixKey, int]

    @classmethod
    def of(
        cls, name: str, plan: Plan, changes: Iterable[tuple[Submodule, LowRankChange]], loaded: LoadedModel
    ) -> ServedEdit:
        """Return the edit of a loaded model from what each submodule's weight gains at strength 1.

        Changes of submodules that one matrix stores are stacked into one change of that matrix.
        """
        groups: dict[MatrixKey, list[tuple[Submodule, LowRankChange]]] = {}
        for submodule, change in changes:
            key = MatrixKey(submodule.module_name, submodule.parameter, submodule.expert)
            groups.setdefault(key, []).append((submodule, LowRankChange(change.b.cpu(), change.a.cpu())))
        factors, layer_of = {}, {}
        for key, group in groups.items():
            whole, device = stacked(group), group[0][0].stored.device
            factors[key] = LowRankChange(
                whole.b.to(device, loaded.run_dtype), whole.a.to(device, loaded.run_dtype).contiguous()
            )
            layer_of[key] = group[0][0].layer
        return cls(name, plan, factors, layer_of)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that it can prune: those of the plan for which it has factors."""
        known = set(self.layer_of.values())
        return tuple(layer for layer in self.plan.layers if layer in known)

    def at(self, strength: float | Sequence[float] | None) -> dict[int, float]:
        """Return the strength of each layer: one for all, one per layer of the plan, or the plan's own for None.

        Raises:
            InputError: the plan takes no such strength, there are more or fewer than layers, or a layer has no factors.
        """
        if strength is None:
            return {layer: self.plan.strength_of(layer) for layer in self.layers}
        given = [strength] * len(self.plan.layers) if isinstance(strength, int | float) else list(strength)
        if len(given) != len(self.plan.layers):
            raise InputError(f"{self.name}: {len(given)} strengths are given for {len(self.plan.layers)} layers.")
        wrong = [value for value in given if not 0 <= value <= self.plan.largest_strength]
        if wrong:
            raise InputError(f"{self.name}: strength {wrong[0]:g} is not from 0 to {self.plan.largest_strength:g}.")
        asked = dict(zip(self.plan.layers, given, strict=True))
        missing = [layer for layer, value in asked.items() if value > 0 and layer not in self.layers]
        if missing:
            raise InputError(
                f"{self.name}: was made at strength 0 in layer {missing[0]}, so it has no edit to scale there. Prune "
                "again."
            )
        return {layer: float(asked[layer]) for layer in self.layers}


def from_difference(weight: torch.Tensor, pruned: torch.Tensor, rank: int, strength: float) -> LowRankChange | None:
    """Return the change at strength 1 that made ``pruned (d_out, d_in)`` of ``weight`` at ``strength``.

    Eq. 3 makes the difference a matrix of rank ``rank`` at most, plus the rounding of the stored dtype, most of which
    the truncated SVD leaves out. None when the two are equal.
    """
    difference = pruned.float() - weight.float()
    if not bool(difference.any()) or strength == 0:
        return None
    kept = min(rank, *difference.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(difference, q=min(kept + 8, *difference.shape), niter=6)
    return LowRankChange(left[:, :kept] * values[:kept] / strength, right[:, :kept].T.contiguous())
