"""The record: all that is needed to repeat a run, and what it measured.

It holds no date, so equal runs give equal records.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import EditMeasures
from prosafeprune.editing.expert_coverage import ExpertCount
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.scores import Change, Scores
from prosafeprune.files.staging import OURS
from prosafeprune.method.plan import Plan
from prosafeprune.model.loading import dtype_name
from prosafeprune.model.source import ModelSource
from prosafeprune.requests.recipe import Recipe

RECORD_FILE = OURS
NOT_MEASURED = (
    "Not measured: the model was larger than memory, so nobody knows whether it still refuses harmful requests, nor "
    "what else it has lost. Measure it before use."
)
LIBRARIES = ("prosafeprune", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


class ModelRecord(BaseModel):
    """The source model: what it was called, and what it was."""

    name: str
    revision: str | None
    sha256: str
    """Over config.json and the safetensors files, or the GGUF file."""
    chat_template_sha256: str
    stored_dtype: str


class RunRecord(BaseModel):
    """How it was run; in half precision the last bits depend on it."""

    device: str
    threads: int
    processes: int = 1
    """That shared the prompts; batch sizes are those of one after the other."""
    dtype: str
    calibration_batch_sizes: tuple[int, ...]
    answer_batch_sizes: tuple[int, ...]
    shared_head_tokens: int
    versions: dict[str, str]


class EditRecord(BaseModel):
    """How a checkpoint was made: all that is needed to make it again."""

    format: int = 2
    model: ModelRecord
    plan: Plan
    recipe: Recipe
    calibration: dict[str, PromptsRecord]
    edited_tensors: list[str]
    submodules: list[EditMeasures]
    experts: list[ExpertCount] = []
    """Of each pruned layer with experts, how many were pruned, and which were left alone."""
    run: RunRecord

    @property
    def pruned_experts(self) -> int:
        """Experts of the pruned layers that were pruned."""
        return sum(one.pruned for one in self.experts)

    @property
    def all_experts(self) -> int:
        """All experts of the pruned layers."""
        return self.pruned_experts + sum(len(one.left_alone) for one in self.experts)

    def write(self, folder: Path) -> None:
        """Write the record into a folder."""
        (folder / RECORD_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class Record(EditRecord):
    """Everything about one pruned checkpoint that was measured before it was written."""

    measured: Literal[True] = True
    judge: str
    evaluation: dict[str, PromptsRecord]
    source: Scores
    result: Scores
    changes: dict[str, Change]
    """By prompt set."""
    compliance_change: Change
    """Over all pseudo-harmful prompts."""
    safety_change: Change
    """Over all harmful prompts; what is held to the floor."""
    benign_divergence: Divergence
    """How far the result has moved from its source on benign prompts."""
    adapter_sha256: str | None = None
    """Of an adapter's weights file; None for a checkpoint."""

    @property
    def safety_drop(self) -> float:
        """Points of S.S. lost; negative when it rose."""
        return -self.safety_change.points

    @property
    def is_safe(self) -> bool:
        """Whether the loss of safety is within what the recipe allows, and could have been seen at all."""
        return self.safety_drop <= self.recipe.max_safety_drop and self.floor_can_be_tested

    @property
    def floor_can_be_tested(self) -> bool:
        """Whether the source refuses often enough for the allowed loss to show; always, when all may be lost."""
        allowed = self.recipe.max_safety_drop
        return allowed >= 100 or (self.source.safety_score or 0) > allowed


class UnmeasuredRecord(EditRecord):
    """Everything about one pruned checkpoint of which nobody knows yet what it refuses.

    It has none of the fields that hold scores: whoever looks for them must not find any.
    """

    measured: Literal[False] = False
    not_measured: str = NOT_MEASURED


def model_record(source: ModelSource, sha256: str, tokenizer: Any, stored_dtype: torch.dtype) -> ModelRecord:
    """Describe the source model for the record."""
    return ModelRecord(
        name=source.name,
        revision=source.revision,
        sha256=sha256,
        chat_template_sha256=hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest(),
        stored_dtype=dtype_name(stored_dtype),
    )


def run_record(
    device: str,
    run_dtype: torch.dtype,
    inputs: PooledInputs,
    answer_batch_sizes: Sequence[int] = (),
    processes: int = 1,
) -> RunRecord:
    """Describe for the record how a model was run, on this machine and in other processes."""
    return RunRecord(
        device=device,
        threads=torch.get_num_threads(),
        processes=processes,
        dtype=dtype_name(run_dtype),
        calibration_batch_sizes=inputs.batch_sizes,
        answer_batch_sizes=tuple(answer_batch_sizes),
        shared_head_tokens=inputs.prefix_length,
        versions=library_versions(),
    )


def read_record(folder: Path) -> Record:
    """Return the record in a folder that this package wrote.

    Raises:
        InputError: there is none, or none that can be read.
    """
    file = folder / RECORD_FILE
    try:
        return Record.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: has no {RECORD_FILE}, so it was not written by prosafeprune.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as a record. Fetch or make it again.") from error


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed as a package"
    return versions
