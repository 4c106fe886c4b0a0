"""The edits of many plans: each layer's operators are computed once and reused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.make_edits import KnownParts, make_edits
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.progress import ignore
from prosafeprune.prompts import PromptClass


class OperatorCache:
    """Makes the edits of plans, for a model that has its base weights at every call."""

    def __init__(
        self,
        anatomy: Anatomy,
        inputs: Mapping[Pooling, PooledInputs],
        class_rows: Mapping[PromptClass, Sequence[int]],
    ) -> None:
        self.anatomy, self.inputs, self.class_rows = anatomy, inputs, class_rows
        self._at_full_strength: dict[Plan, list[PruningEdit]] = {}
        self._parts: KnownParts = {}

    def of(self, plan: Plan) -> list[PruningEdit]:
        """Return the plan's edits, without those of layers at strength 0."""
        return [
            replace(edit, strength=plan.strength_of(layer))
            for layer in plan.layers
            if plan.strength_of(layer) > 0
            for edit in self._made(plan.of_layer(layer).model_copy(update={"strength": 1.0}))
        ]

    def _made(self, plan: Plan) -> list[PruningEdit]:
        if plan not in self._at_full_strength:
            with torch.inference_mode():
                self._at_full_strength[plan] = make_edits(
                    self.anatomy, plan, self.inputs[plan.pooling], self.class_rows, ignore, self._parts
                )
        return self._at_full_strength[plan]
