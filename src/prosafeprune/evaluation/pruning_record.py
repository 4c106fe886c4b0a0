"""The record of a model that this package pruned, read back: no other module reads ``prosafeprune.json``.

It may be of an older release, and someone else's. Only what every release has written is read here; ``read_record`` in
``report/record.py`` reads a complete record of this release.
"""

from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, model_validator

from prosafeprune.errors import InputError
from prosafeprune.evaluation.conditions import AnswerSettings, Conditions
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.files.staging import RECORD_FILE
from prosafeprune.files.text_file import MAX_JSON_BYTES, read_text_file
from prosafeprune.files.versions import require_not_newer
from prosafeprune.method.plan import Plan
from prosafeprune.model.gguf_file import RECORD_KEY, gguf_parts, text_in
from prosafeprune.prompts.prompt_set import PromptClass

Found = TypeVar("Found")
RECORD_FORMAT = 2
"""The number in a record's ``format``: raise it when earlier releases cannot read what is written."""
MAKE_AGAIN = "Fetch or make the model again."


class RecordedModel(BaseModel):
    """A model that another one was made from."""

    name: str
    sha256: str


class PruningStep(RecordedModel):
    """One pruning in a model's past, and the model that was pruned."""

    drop: float = Field(ge=-100, le=100, allow_inf_nan=False)
    """Points of S.S. that this step lost; negative when it rose."""


class _Fit(BaseModel):
    """What was merged into a model that was not pruned."""

    method: str


class _Training(BaseModel):
    """The training after pruning."""

    strength: float


class _Recipe(AnswerSettings):
    """The settings of the run."""

    prompt_field: str = "prompt"
    calibration: str | None = None
    """What ``--calibration`` named; None in older records, which lack it."""
    samples: int | None = Field(None, ge=1)


class _RecordedChange(BaseModel):
    points: float = Field(ge=-100, le=100, allow_inf_nan=False)


class _Pruning(BaseModel):
    """How a pruned model was made."""

    model: RecordedModel
    """The base model."""
    lineage: list[PruningStep] = []
    """Earlier prunings that made the base model, the first one first."""
    plan: Plan | None = None
    """None for a model made from a fit."""
    fit: _Fit | None = None
    calibration: dict[PromptClass, PromptsRecord]
    polish: _Training | None = None
    weights_sha256: str | None = None
    """Hash of what was written; None for adapters, unmeasured models and in older records."""

    @model_validator(mode="after")
    def _pruned_or_made_from_a_fit(self) -> Self:
        if (self.plan is None) is (self.fit is None):
            raise ValueError("needs either a plan or a fit")
        return self

    def require_plan(self, given: str, remedy: str) -> Plan:
        """Return the plan. Raises InputError when the model that the user gave was made from a fit, which has none."""
        if self.plan is None:
            method = self.fit.method if self.fit is not None else ""
            raise InputError(f"{given}: was made from a fit of {method}, not pruned. {remedy}")
        return self.plan

    @property
    def first_base(self) -> RecordedModel:
        """The model that was never pruned."""
        return self.lineage[0] if self.lineage else self.model

    @property
    def is_trained(self) -> bool:
        """Whether training after pruning (``--polish``) was merged into it."""
        return self.polish is not None and self.polish.strength != 0


class UnmeasuredPruning(_Pruning):
    """What is read of the record of a model that was pruned without being measured."""

    measured: Literal[False]


class MeasuredPruning(_Pruning):
    """What is read of the record of any other pruned model."""

    measured: Literal[True] = True
    judge: str
    recipe: _Recipe
    safety_change: _RecordedChange
    evaluation: dict[str, PromptsRecord] = {}
    """The prompts that it was measured on, by set."""

    @property
    def conditions(self) -> Conditions:
        """The conditions that it was measured under."""
        return Conditions.of(self.judge, self.recipe)

    @property
    def step(self) -> PruningStep:
        """This pruning, as the last step of the model's past."""
        return PruningStep(**self.model.model_dump(), drop=-self.safety_change.points)


Pruning = MeasuredPruning | UnmeasuredPruning
PRUNING: TypeAdapter[Pruning] = TypeAdapter(Pruning)


def read_pruning(model: Path, remedy: str = MAKE_AGAIN) -> Pruning | None:
    """Return how a model was pruned, from the record in its folder or GGUF file; None when it has none.

    Raises:
        InputError: the record cannot be read.
    """
    return read_record_as(PRUNING, model, remedy)


def read_record_as(kind: TypeAdapter[Found], model: Path, remedy: str = MAKE_AGAIN) -> Found | None:
    """Return the record of a model, validated as a type; None when it has none, so this package did not write it.

    Args:
        remedy: what to do about a record that cannot be read.

    Raises:
        InputError: the record is of something else or of a later release, or cannot be read.
    """
    text = _text_of(model)
    if text is None:
        return None
    try:
        return kind.validate_json(text)
    except ValueError as error:
        if '"command": "prompts ' in text:
            raise InputError(f"{model}: holds prompts, not a model. Give the folder that prune wrote.") from error
        file = model if model.is_file() else model / RECORD_FILE
        require_not_newer(file, text, RECORD_FORMAT)
        raise InputError(f"{file}: cannot be read as a record. {remedy}") from error


def require_record_as(kind: TypeAdapter[Found], folder: Path, given: str, remedy: str = MAKE_AGAIN) -> Found:
    """Return the record in a folder as a type, like :func:`read_record_as`.

    Args:
        given: the folder, as the user gave it.

    Raises:
        InputError: also when there is none.
    """
    found = read_record_as(kind, folder, remedy) if folder.is_dir() else None
    if found is None:
        raise InputError(
            f"{given}: has no {RECORD_FILE}, so prosafeprune did not write it. Give a folder that prune or apply wrote."
        )
    return found


def _text_of(model: Path) -> str | None:
    if model.is_file():
        return text_in(gguf_parts(model)[0], RECORD_KEY)
    file = model / RECORD_FILE
    return read_text_file(file, "record", MAX_JSON_BYTES) if file.exists() else None
