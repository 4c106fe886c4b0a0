"""What a user asks of ``prune``, as one validated object: YAML files, command-line options and Python calls make it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prosafeprune.errors import InputError
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import DRAFT_PROMPTS, BenchmarkOptions, DraftOptions, with_draft_defaults
from prosafeprune.requests.parsing import Request, first_changed, read_yaml, validate_settings
from prosafeprune.requests.plan_options import OperatorOptions, PlanOptions
from prosafeprune.requests.search import (
    DRAFT_SEARCH,
    FloorOptions,
    PlanSearchRequest,
    SafetyOptions,
    SearchOptions,
    SearchRequest,
)

NOT_FROM_RECIPE_FILES = ("accept_unsafe", "unmeasured")
"""Settings that save a model without the safety floor: a recipe file cannot turn them on."""

OF_MEASURING = (*JudgeOptions.model_fields, *FloorOptions.model_fields)
OF_MEASURING += ("max_new_tokens", "test_samples", "prompting_samples")
"""Settings that decide how a pruned model is measured, and nothing else where its layers are given."""

OF_A_PLAN = (*SearchOptions.model_fields, *SafetyOptions.model_fields, *OperatorOptions.model_fields)
"""Settings of a comparison that decide which plan is searched for, or how a given one prunes, and nothing else."""

DEFAULT_STRENGTH = PlanOptions.model_fields["strength"].default
FEWEST_SAVED = 100
"""With fewer test prompts of a set, a measurement is a draft."""


class OutputOptions(BaseModel):
    """What is written, and what may be written unmeasured."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Output")

    format: Literal["checkpoint", "adapter", "gguf"] = Field(
        "checkpoint",
        description="What to write: checkpoint (a complete model), adapter (a LoRA adapter for the base model) or gguf "
        "(the base model's GGUF file with edited tensors).",
    )
    dequantise: bool = Field(
        False,
        description="Write a quantised model as a checkpoint in 16 bits; --format adapter leaves it quantised instead.",
    )
    memory: Literal["normal", "low"] = Field(
        "normal",
        description="low: for models larger than memory; prunes the given --layers, one in memory at a time, and can "
        "measure only with --serve-with.",
    )
    unmeasured: bool = Field(
        False, description="Write the model without measuring whether it still refuses; only with --memory low."
    )


class Recipe(OutputOptions, FloorOptions, DraftOptions, BenchmarkOptions, PlanOptions, SearchRequest):
    """Everything that decides the outcome of ``prune``: a plan or a search for one, and how it is measured."""

    model_config = ConfigDict(title="Calibration")  # the panel of --from in --help

    earlier: Path | None = Field(
        None,
        description="Folder of an earlier pruned version of MODEL, to be replaced: its calibration prompts are added "
        "to the new ones, its --calibration and --samples count unless given, and what it answers is measured again. "
        "MODEL may then be left out.",
        json_schema_extra={"option": "from"},
    )
    polish: bool = Field(
        False,
        description="After pruning, train a LoRA adapter on the pruned model's own answers (self-training) and merge "
        "it at the strength with the best validation score, if any; the divergence from the base model counts against "
        "it.",
    )
    test_samples: int | None = Field(
        None,
        ge=1,
        description="Maximum prompts of each set to measure on, the bundled ones included; with fewer than 100, the "
        "result is a draft. The safety floor needs more prompts the less S.S. gains.",
    )
    prompting_samples: int = Field(
        100,
        ge=0,
        description="Maximum test prompts of each class that MODEL, unpruned, also answers behind a helpful system "
        "prompt, to say whether that alone would do; 0 leaves it out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _make_drafts_quick(cls, values: Any) -> Any:
        return with_draft_defaults(values, {**DRAFT_SEARCH, "test_samples": DRAFT_PROMPTS})

    @property
    def is_draft(self) -> bool:
        """Whether it measures on too few prompts to save a model."""
        return self.draft or (self.test_samples is not None and self.test_samples < FEWEST_SAVED)

    @model_validator(mode="after")
    def _writes_what_is_polished(self) -> Recipe:
        if self.polish and (self.format != "checkpoint" or self.memory == "low"):
            raise ValueError(
                "polish trains the complete model in memory and writes a checkpoint; leave out format and memory"
            )
        return self

    @model_validator(mode="after")
    def _runs_on_a_quantised_copy(self) -> Recipe:
        if self.load is not None:
            if self.memory == "low":
                raise ValueError("memory: low has one layer in memory at a time, as it is stored; leave out load")
            if self.polish:
                raise ValueError("polish trains the complete model in memory as it is stored; leave out load")
            if self.format == "gguf":
                raise ValueError("format: gguf measures the values of the file's tensors; leave out load")
        return self

    @model_validator(mode="after")
    def _fits_in_low_memory(self) -> Recipe:
        if self.memory == "normal":
            if self.unmeasured:
                raise ValueError("unmeasured is only for models larger than memory (memory: low); leave it out")
            return self
        if self.earlier is not None:
            raise ValueError(
                "memory: low answers no prompts, so nothing can be compared with an earlier model; leave out from"
            )
        if self.layers is None:
            raise ValueError("memory: low needs the layers to prune; a search needs the complete model in memory")
        if self.format != "checkpoint":
            raise ValueError(f"memory: low writes only complete checkpoints; leave out format: {self.format}")
        if self.suite is not None or self.benchmark or self.test_pseudo_harmful or self.test_harmful or self.hold_out:
            raise ValueError(
                "memory: low measures nothing or, with --serve-with, on the bundled test prompts, so it takes no "
                "suite, benchmark, test_* or hold_out"
            )
        return self

    def require_unmeasured(self) -> None:
        """Raise InputError unless a run in low memory was asked to write a model that it cannot measure."""
        if not self.unmeasured:
            raise InputError(
                "memory: low answers no prompts, so it cannot measure whether the pruned model still refuses; set "
                "unmeasured (--unmeasured) to write it anyway, and measure it behind a server with evaluate "
                "--endpoint; or have it measured behind one with --serve-with"
            )


def make_recipe(file: str | Path | None = None, **settings: Any) -> Recipe:
    """Return the recipe of a YAML file; ``settings`` that are not None override the file.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range; the message names it.
    """
    return make_request(Recipe, file, settings)


def read_recipe(file: str | Path) -> dict[str, Any]:
    """Return the settings of a recipe file by field; a field may have the name of its option, such as ``from``.

    Raises:
        InputError: the file cannot be read, or has a setting under both names.
    """
    values = read_yaml(Path(file))
    for field, info in Recipe.model_fields.items():
        option = info.json_schema_extra.get("option") if isinstance(info.json_schema_extra, dict) else None
        if isinstance(option, str) and option in values:
            if field in values:
                raise InputError(f"{file}: {option} and {field} are one setting. Remove one of the two lines.")
            values[field] = values.pop(option)
    return values


def make_request(kind: type[Request], file: str | Path | None, settings: Mapping[str, Any]) -> Request:
    """Return a request of the given kind from a recipe file and settings that override it.

    A recipe file describes a pruning. Other commands read the same file and use those of its settings that they have.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range; the message names it.
    """
    values = read_recipe(file) if file is not None else {}
    unused = Recipe.model_fields.keys() - kind.model_fields.keys()
    given = {name: value for name, value in settings.items() if value is not None}
    used = {name: value for name, value in values.items() if name not in unused}
    made = validate_settings(kind, {**used, **given}, str(file or ""))
    _require_named_by_user(made, given)
    _require_used(made, given)
    return made


def _require_named_by_user(made: BaseModel, given: Mapping[str, Any]) -> None:
    """Raise InputError when a recipe file alone, which may be someone else's, disables the safety floor."""
    for name in NOT_FROM_RECIPE_FILES:
        if getattr(made, name, False) and name not in given:
            option = name.replace("_", "-")
            raise InputError(f"{name}: is not taken from a recipe file. Give --{option} on the command line as well.")


def _require_used(made: BaseModel, given: Mapping[str, Any]) -> None:
    """Raise InputError when a setting that the user gave has no effect next to the others.

    A recipe file may have such settings; not a strength without layers for the paper's strategy.
    """
    if isinstance(made, BenchmarkOptions) and {"data_dir", "prompt_field"} & given.keys():
        made.require_read_files()
    elif isinstance(made, SearchRequest) and "data_dir" in given and not made.calibrates_on_public_sets:
        raise InputError("--data-dir: is for files of public sets to calibrate on, and none is named. Leave it out.")
    if isinstance(made, OutputOptions) and made.unmeasured:
        of_measuring = first_changed(made, (name for name in OF_MEASURING if name in given))
        if of_measuring is not None:
            option = of_measuring.replace("_", "-")
            raise InputError(
                f"--{option}: is for a model that is measured, and --unmeasured measures nothing. Leave one out."
            )
    if not isinstance(made, PlanOptions):
        return
    # A recipe file's too where the paper's strategy would take it: the cache would give that search for any strength.
    is_taken = getattr(made, "strategy", "auto") == "paper" and made.strength != DEFAULT_STRENGTH
    if made.layers is None and ("strength" in given or is_taken):
        raise InputError("--strength: is for given layers; a search chooses strengths. Give --layers, or leave it out.")
    fields = SearchOptions.model_fields  # those of a record of another run are all given, most of them their defaults
    of_a_search = [name for name in fields if name in given and getattr(made, name) != fields[name].default]
    if made.layers is not None and of_a_search:
        raise InputError(f"--{of_a_search[0]}: is for a search, and --layers names the plan. Leave one of them out.")
    if isinstance(made, CompareRequest):
        changed = first_changed(made, (name for name in OF_A_PLAN if name in given))
        require_unplanned(made, [changed] if changed is not None else [])


def require_unplanned(made: CompareRequest, named: Collection[str]) -> None:
    """Raise InputError when a setting that makes a plan is among those ``named`` where a finished plan is given.

    The command line calls this with all that was given, also at its default. In Python the settings of an earlier
    record may be given, most of them defaults.
    """
    source = next((name for name in ("search", "pruned") if getattr(made, name) is not None), None)
    of_a_plan = next((name for name in OF_A_PLAN if name in named), None)
    if source is not None and of_a_plan is not None:
        option = of_a_plan.replace("_", "-")
        raise InputError(
            f"--{option}: is for a plan that is made now, and --{source} names a finished one. Leave one of them out."
        )


def recipe_of(request: PlanSearchRequest) -> Recipe:
    """Return the recipe of a search. What the user left out stays unset: a search varies those settings."""
    return Recipe.model_validate(request.model_dump(include=set(Recipe.model_fields), exclude_unset=True))
