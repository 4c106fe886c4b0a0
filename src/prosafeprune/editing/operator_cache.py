"""The edits of many plans: operators are made once for each layer and kind of operator, and used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.progress import ignore
from prosafeprune.prompts import PromptClass


class OperatorCache:
    """Makes the edits of plans for a model whose weights are the source's whenever it is asked."""

    def __init__(
        self,
        anatomy: Anatomy,
        inputs: Mapping[Pooling, PooledInputs],
        class_rows: Mapping[PromptClass, Sequence[int]],
    ) -> None:
        self.anatomy, self.inputs, self.class_rows = anatomy, inputs, class_rows
        self._full: dict[Plan, list[PruningEdit]] = {}

    def of(self, plan: Plan) -> list[PruningEdit]:
        """Return the plan's edits; those of a layer at strength 0 are left out."""
        return [
            replace(edit, strength=plan.strength_of(layer))
            for layer in plan.layers
            if plan.strength_of(layer) > 0
            for edit in self._made(plan.of_layer(layer).model_copy(update={"strength": 1.0}))
        ]

    def _made(self, plan: Plan) -> list[PruningEdit]:
        if plan not in self._full:
            with torch.inference_mode():
                self._full[plan] = make_edits(self.anatomy, plan, self.inputs[plan.pooling], self.class_rows, ignore)
        return self._full[plan]
