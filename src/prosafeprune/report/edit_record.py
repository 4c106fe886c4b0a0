"""How a checkpoint or adapter was made: the part of its record that does not depend on whether it was measured."""

import hashlib
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, field_validator, model_validator

from prosafeprune.editing.edits import EditMeasures
from prosafeprune.editing.expert_coverage import ExpertCount
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.pruning_record import RECORD_FORMAT, PruningStep
from prosafeprune.files.staging import RECORD_FILE
from prosafeprune.method.plan import Plan
from prosafeprune.model.companions import tokenizer_files_hash
from prosafeprune.model.gguf_comparison import GgufComparison, read_comparison
from prosafeprune.model.loading import dtype_name
from prosafeprune.model.source import ModelSource
from prosafeprune.report.fit_record import FitRecord
from prosafeprune.report.run_record import RunRecord
from prosafeprune.requests.recipe import Recipe
from prosafeprune.requests.search import LARGE_DROP
from prosafeprune.text import without_folder

PATHS: tuple[str, ...] = ("model", "earlier", "harmful", "benign", "pseudo_harmful", "test_harmful")
PATHS += ("test_pseudo_harmful", "benchmark", "data_dir", "judge_model")
"""Settings that may be a path on this machine."""


class ModelRecord(BaseModel):
    """The base model: its name and hashes."""

    name: str
    revision: str | None
    sha256: str
    """Hash of config.json and the safetensors files, or of the GGUF file."""
    chat_template_sha256: str
    tokenizer_sha256: str | None = None
    """Hash of its tokenizer files and generation_config.json; None of a GGUF file, whose hash covers these, and in
    older records."""
    stored_dtype: str
    gguf_comparison: GgufComparison | None = None
    """How it was compared with llama.cpp; None where it is no GGUF file, or llama.cpp was not there."""

    def has_tokenizer_of(self, model: Path) -> bool:
        """Return whether a model has the tokenizer and generation config of this one, as far as the record says."""
        return self.tokenizer_sha256 in (None, tokenizer_files_hash(model))


class EditRecord(BaseModel):
    """How a checkpoint was made: everything needed to make it again."""

    format: int = RECORD_FORMAT
    model: ModelRecord
    lineage: list[PruningStep] = []
    """Earlier prunings that made the base model, the first one first."""
    plan: Plan | None = None
    """How it was pruned; None for a model made from a fit."""
    fit: FitRecord | None = None
    """What was merged into its weights instead; None for a pruned model."""
    recipe: Recipe
    calibration: dict[str, PromptsRecord]
    edited_tensors: list[str]
    submodules: list[EditMeasures] = []
    """What pruning removed from each submodule; empty for a model made from a fit."""
    experts: list[ExpertCount] = []
    """For each pruned layer with experts: how many were pruned, and which were left unchanged."""
    run: RunRecord

    @field_validator("recipe", mode="before")
    @classmethod
    def _read_older_recipe(cls, value: Any) -> Any:
        """Read a recipe from before ``accept_unsafe``, when a large ``max_safety_drop`` alone accepted any loss."""
        drop = value.get("max_safety_drop") if isinstance(value, dict) else None
        if isinstance(drop, int | float) and drop > LARGE_DROP and "accept_unsafe" not in value:
            return {**value, "accept_unsafe": True}
        return value

    @model_validator(mode="after")
    def _pruned_or_made_from_a_fit(self) -> Self:
        if (self.plan is None) is (self.fit is None) or (self.plan is None) is bool(self.submodules):
            raise ValueError("needs either a plan with what it removed, or a fit")
        return self

    @property
    def pruning_plan(self) -> Plan:
        """The plan of a pruned model. Raises ValueError for one that was made from a fit."""
        if self.plan is None:
            raise ValueError("was made from a fit, which has no plan")
        return self.plan

    @property
    def changed_model(self) -> str:
        """What the model is called next to its base model."""
        return f"{self.made} model"

    @property
    def made(self) -> str:
        """How the model was made, in a word."""
        return "pruned" if self.fit is None else "fine-tuned"

    @property
    def pruned_experts(self) -> int:
        """Number of experts pruned, over all pruned layers."""
        return sum(count.pruned for count in self.experts)

    @property
    def all_experts(self) -> int:
        """Number of experts in the pruned layers."""
        return self.pruned_experts + sum(len(count.left_alone) for count in self.experts)

    def write(self, folder: Path) -> None:
        """Write the record into a folder."""
        (folder / RECORD_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def template_hash(tokenizer: Any) -> str:
    """Return the hash of a tokenizer's chat template."""
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()


def model_record(
    source: ModelSource, folder: Path, sha256: str, tokenizer: Any, stored_dtype: torch.dtype
) -> ModelRecord:
    """Return the description of the base model, loaded from ``folder``, for a record."""
    return ModelRecord(
        name=without_folder(source.name),
        revision=source.revision,
        sha256=sha256,
        chat_template_sha256=template_hash(tokenizer),
        tokenizer_sha256=tokenizer_files_hash(source.path),
        stored_dtype=dtype_name(stored_dtype),
        gguf_comparison=read_comparison(folder),
    )


def shareable(recipe: Recipe) -> Recipe:
    """Return a recipe for a record, which is shared with the model: absolute paths are cut to their last part."""

    def cut(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(cut, value))
        return type(value)(without_folder(str(value))) if isinstance(value, str | Path) else value

    named = {name: getattr(recipe, name) for name in PATHS}
    return recipe.model_copy(update={name: cut(value) for name, value in named.items() if cut(value) != value})
