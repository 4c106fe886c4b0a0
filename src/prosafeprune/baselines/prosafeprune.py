"""ProSafePrune as a method: a plan's edits applied in memory while the model answers, alone or with a system prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field

from prosafeprune.baselines.low_rank import edited_generator
from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.baselines.published_prompts import HELPFULNESS
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.load import require_layers


class ProSafePrune(Method):
    """Projected safety pruning (this package), by a plan."""

    name: ClassVar[str] = "prosafeprune"
    plan: Plan = Field(description="Layers, rank, strength and pooling.")

    def fit(self, context: FitContext) -> FittedParts:
        """Compute the overlap operators of the plan (Eq. 1), two factors per submodule."""
        anatomy = context.anatomy
        require_layers(self.plan, anatomy)
        _, edits = calibrate(
            context.loaded, anatomy, self.plan, context.calibration, context.batch_size, context.reporter
        )
        tensors: dict[str, torch.Tensor] = {}
        for edit in edits:
            tensors[f"{edit.submodule.name}.left"] = edit.operator.left
            tensors[f"{edit.submodule.name}.right"] = edit.operator.right
        return FittedParts(tensors, {"submodules": [edit.measures.model_dump(mode="json") for edit in edits]})

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator whose model is pruned while it answers."""
        return edited_generator(loaded, batch_size, self.edits(loaded, fitted))

    def edits(self, loaded: LoadedModel, fitted: FittedParts) -> Sequence[PruningEdit]:
        """Return the plan's edits of this model from the fitted operators."""
        submodules = {submodule.name: submodule for submodule in find_anatomy(loaded.model).submodules}
        edits = []
        for values in fitted.facts["submodules"]:
            measures = EditMeasures.model_validate(values)
            factors = [fitted.tensors[f"{measures.submodule}.{side}"] for side in ("left", "right")]
            strength = self.plan.strength_of(measures.layer)
            edits.append(PruningEdit(submodules[measures.submodule], OverlapOperator(*factors), strength, measures))
        return edits


class PromptedProSafePrune(ProSafePrune):
    """Projected safety pruning and the helpful system prompt of the ``prompt`` baseline together."""

    name: ClassVar[str] = "prompt+prosafeprune"
    system: str = Field(HELPFULNESS, min_length=1, description="The system prompt.")

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator whose model is pruned and prompted while it answers."""
        prompted = LocalGenerator(loaded, batch_size, partial(ChatPromptBatches, system=self.system))
        return EditedGenerator(prompted, partial(apply_edits, self.edits(loaded, fitted)))
