"""ProSafePrune as a method: a plan's edits applied in memory while the model answers, alone or with a system prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method, ModelChange
from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.checkpoint.writer import Located, locate_tensors
from prosafeprune.editing.edits import EditMeasures, PruningEdit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.pruning_record import PRUNING, require_record_as
from prosafeprune.evaluation.sets import bundled_calibration
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.model_hash import model_hash, require_hash
from prosafeprune.model.source import check_checkpoint_folder
from prosafeprune.model.submodule import Layout, Submodule
from prosafeprune.prompts import PromptClass, PromptSet
from prosafeprune.prompts.helpful_prompt import HELPFULNESS
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.load import require_layers


class PlannedMethod(Method):
    """A method that prunes by a plan."""

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


class ProSafePrune(PlannedMethod, ModelChange):
    """Projected safety pruning (this package), by a plan."""

    name: ClassVar[str] = "prosafeprune"

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the pruned model."""
        return partial(apply_edits, self.edits(loaded, fitted))


class PromptedProSafePrune(PlannedMethod):
    """Projected safety pruning and the helpful system prompt of the ``prompt`` baseline together."""

    name: ClassVar[str] = "prompt+prosafeprune"
    system: str = Field(HELPFULNESS, min_length=1, description="The system prompt.")

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator whose model is pruned and prompted while it answers."""
        prompted = LocalGenerator(loaded, batch_size, partial(ChatPromptBatches, system=self.system))
        return EditedGenerator(prompted, partial(apply_edits, self.edits(loaded, fitted)))


class PrunedCheckpoint(ModelChange):
    """Projected safety pruning (this package), as a finished checkpoint."""

    name: ClassVar[str] = "prosafeprune"
    plan: Plan = Field(description="Plan the checkpoint was pruned by.")
    sha256: str = Field(description="Of the checkpoint.")
    folder: Path = Field(exclude=True, description="Its folder.")
    is_trained: bool = Field(exclude=True, description="Whether all layers were trained after pruning (--polish).")
    calibration: dict[PromptClass, PromptsRecord] = Field(exclude=True, description="What it was calibrated on.")

    @classmethod
    def of(cls, folder: Path, model: str) -> PrunedCheckpoint:
        """Return the method of a pruned checkpoint, which must be made of the model with the hash ``model``.

        Raises:
            InputError: it was not written by this package, is pruned from another model, or was changed since.
        """
        record = require_record_as(PRUNING, folder, f"--pruned {folder}")
        if record.model.sha256 != model:
            raise InputError(f"{folder}: was pruned from another model. Give the model it was made from.")
        check_checkpoint_folder(folder, str(folder), edited=True)
        # Of a checkpoint that changed, only the plan's layers would be compared.
        recorded = record.weights_sha256
        sha256 = model_hash(folder) if recorded is None else require_hash(folder, recorded, folder)
        return cls(
            plan=record.require_plan(f"--pruned {folder}", "Evaluate it alone, or compare its method."),
            sha256=sha256,
            folder=folder.resolve(),
            is_trained=record.is_trained,
            calibration=record.calibration,
        )

    def further_prompts(self) -> Sequence[PromptSet]:
        """Return the bundled prompts that it was calibrated on; the user's own are known by their hash alone."""
        return bundled_calibration(self.described_calibration)

    @property
    def described_calibration(self) -> Mapping[PromptClass, Mapping[str, Any]]:
        """What it was calibrated on, as its record says."""
        return {name: prompts.model_dump() for name, prompts in self.calibration.items()}

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the model with the checkpoint's weights."""
        anatomy = find_anatomy(loaded.model)
        submodules = [
            submodule for submodule in anatomy.submodules if self.is_trained or submodule.layer in self.plan.layers
        ]
        located = locate_tensors(loaded.folder, submodules)
        return lambda: apply_edits(_replacements(submodules, located, self.folder))


@dataclass(frozen=True)
class _Replacement:
    """The matrix of another checkpoint instead of the model's own."""

    submodule: Submodule
    tensor: torch.Tensor
    """The stored tensor that contains the matrix."""
    layout: Layout
    """The matrix's layout in that tensor."""

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the other checkpoint's weight."""
        return self.layout.take(self.tensor)


def _replacements(submodules: Sequence[Submodule], located: Located, folder: Path) -> list[_Replacement]:
    """Read from ``folder`` the matrices that replace the base model's submodules."""
    places = stored_tensors(folder)
    tensors = {name: places[name].read() for name in {located[submodule.name].name for submodule in submodules}}
    found = [(submodule, located[submodule.name]) for submodule in submodules]
    return [_Replacement(submodule, tensors[stored.name], stored.layout) for submodule, stored in found]
