"""Options for the model that a command runs, the prompts it is measured on, and its general ability."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prosafeprune.errors import InputError
from prosafeprune.requests.parsing import OneOrMore, PathOrName, first_changed
from prosafeprune.text import is_blank

Suite = Literal["bundled", "paper", "beyond"]
DRAFT_PROMPTS = 24
"""Prompts of each set that a draft is measured on."""
TASK_NAMES = ("mmlu", "commonsenseqa", "gsm8k")
MAX_TOKENS = 1_000_000
"""Longest answer that may be asked for: above any model's context."""


def thinking_mode(value: Any) -> Any:
    """Return on or off for a flag, as YAML reads these words and older records have them; anything else as it is."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class ModelOptions(BaseModel):
    """The model, and how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Model")
    in_both_modes: ClassVar[bool] = False
    """Whether ``thinking`` may be ``both``, for a command that measures."""

    model: str = Field(min_length=1, description="Local folder, hub id or .gguf file.")
    revision: str | None = Field(None, description="Commit, branch or tag of a hub model.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")
    system: str | None = Field(
        None,
        min_length=1,
        max_length=100_000,
        description="System prompt before every prompt, such as one that the chat template requires; on the command "
        "line, @FILE reads it from a file.",
    )
    thinking: Literal["on", "off", "both"] = Field(
        "off",
        description="on: the model thinks before it answers, where its chat template can switch that; both (prune, "
        "search, apply, evaluate, compare): every prompt once without and once with thinking. Allow enough tokens for "
        "thought and answer.",
    )
    device: str = Field(
        "auto",
        description="auto, cpu, cuda (one GPU), cuda:1, all (layers spread over all GPUs) or mps. auto uses all GPUs "
        "for a model too large for one.",
    )
    dtype: str = Field("auto", description="Dtype to run in: auto (as stored), float32, bfloat16, float16.")
    batch_size: int | Literal["auto"] = Field("auto", description="Prompts per batch; auto finds what fits.")

    @property
    def runs_in(self) -> str:
        """The dtype asked for, with the bits of a quantised copy; answers and activations depend on both."""
        load = getattr(self, "load", None)
        return self.dtype if load is None else f"{self.dtype}, {load}"

    @property
    def recorded_thinking(self) -> bool | str | None:
        """How kept folders name the mode: True when on, None when off, as in releases that knew these two alone."""
        return {"on": True, "off": None, "both": "both"}[self.thinking]

    @property
    def load_arguments(self) -> dict[str, Any]:
        """Keyword arguments of :func:`~prosafeprune.model.loading.load_model`."""
        fields = self.model_dump(include={"device", "dtype", "trust_remote_code", "system", "load"})
        return {**fields, "thinking": self.thinking}

    @field_validator("thinking", mode="before")
    @classmethod
    def _on_or_off(cls, value: Any) -> Any:
        return thinking_mode(value)

    @field_validator("system")
    @classmethod
    def _is_informative(cls, value: str | None) -> str | None:
        if value is not None and is_blank(value):
            raise ValueError("is empty; leave it out")
        return value

    @model_validator(mode="after")
    def _thinks_in_one_mode(self) -> Self:
        if self.thinking == "both" and not self.in_both_modes:
            raise ValueError("thinking both is for prune, search, apply, evaluate and compare; choose on or off")
        return self

    @field_validator("batch_size", mode="before")
    @classmethod
    def _whole_number(cls, value: Any) -> Any:
        try:
            number = value if isinstance(value, int) else int(value)
        except (TypeError, ValueError, OverflowError):  # infinity
            number = None
        if value != "auto" and (number is None or isinstance(value, bool) or number < 1):
            raise ValueError("must be auto or a whole number of at least 1")
        return value


class LoadOptions(BaseModel):
    """A copy of the model in less memory."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Model")

    load: Literal["8bit", "4bit"] | None = Field(
        None,
        description="Run on a copy of the model quantised by bitsandbytes to 8 or 4 bits, in less memory; what is "
        "written is still made from the stored weights.",
    )


class SeedOptions(BaseModel):
    """The seed of every draw of prompts and of every search."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Model")

    seed: int = Field(0, ge=0, lt=2**63, description="Random seed.")


class FileOptions(BaseModel):
    """How the user's prompt files are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Your own prompts")

    prompt_field: str = Field("prompt", description="Column of the prompts in your own files; the same in all of them.")


class BenchmarkOptions(FileOptions):
    """The benchmarks and prompts of the user that a model is measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Measuring")

    suite: Suite | None = Field(
        None,
        description="Sets to measure on: paper (its six benchmarks and sample sizes), beyond (conversations, policies, "
        "domains and languages) or bundled (the default).",
    )
    benchmark: OneOrMore = Field(
        (),
        description="A benchmark by name, or NAME=FILE to read it from a file; may be given more than once.",
        json_schema_extra={"short": "-b"},
    )
    data_dir: Path | None = Field(
        None, description="Folder with the files of benchmarks and other public sets, instead of their public sources."
    )
    benchmark_samples: int | None = Field(
        None, ge=1, description="Maximum prompts drawn from each benchmark. Default: the suite's, or all."
    )

    test_pseudo_harmful: PathOrName | None = Field(
        None, description="Your own harmless prompts to measure on: .jsonl, .json, .csv, .txt or a hub dataset id."
    )
    test_harmful: PathOrName | None = Field(
        None, description="Your own harmful prompts to measure on, in the same formats."
    )

    @property
    def reads_benchmark_files(self) -> bool:
        """Whether prompts of a benchmark are measured on or calibrated on, which may be files of ``data_dir``."""
        return self.suite == "paper" or bool(self.benchmark) or getattr(self, "calibrates_on_public_sets", False)

    def require_read_files(self) -> None:
        """Raise InputError when a folder or a column of files is named, and no such file is read."""

        def is_given(*names: str) -> bool:
            return any(getattr(self, name, None) for name in names)

        if self.data_dir is not None and not (self.reads_benchmark_files or is_given("ability", "general")):
            raise InputError("--data-dir: is for files of benchmarks, and none is named. Name some, or leave it out.")
        own_files = ("calibrates_on_own_files", "test_pseudo_harmful", "test_harmful", "earlier")
        if first_changed(self, ("prompt_field",)) and not is_given(*own_files):
            raise InputError("--prompt-field: is for your own prompt files, and none is given. Leave it out.")


class DraftOptions(BaseModel):
    """A quick look before the real measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Measuring")

    draft: bool = Field(
        False,
        description="Measure on a few prompts only, for a first look; all that is printed and written says so, and no "
        "model is saved.",
    )


def with_draft_defaults(values: Any, defaults: Mapping[str, Any]) -> Any:
    """Return the values of a request; for a draft, with quick settings where the user gives none."""
    if not isinstance(values, dict) or values.get("draft") not in (True, "true", "True"):
        return values
    return {**defaults, **{name: value for name, value in values.items() if value is not None}}


class AnswerOptions(BaseModel):
    """The length of the answers that are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Measuring")

    max_new_tokens: int = Field(64, ge=1, le=MAX_TOKENS, description="Maximum tokens of each judged answer.")


class AbilityOptions(BaseModel):
    """The tasks of general ability."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="General ability")

    ability: tuple[str, ...] = Field((), description=f"Tasks of general ability: {', '.join(TASK_NAMES)}, or all.")
    ability_samples: int | None = Field(
        None, ge=1, description="Maximum questions drawn from each task. Default: as in the paper."
    )
    ability_tokens: int = Field(
        512, ge=1, le=MAX_TOKENS, description="Maximum tokens of each answer to an ability question."
    )

    def require_tasks(self) -> None:
        """Raise ValueError when a setting for tasks of general ability is given, and no task."""
        unused = first_changed(self, ("ability_samples", "ability_tokens"))
        if unused is not None and not self.ability:
            raise ValueError(f"{unused} is for tasks of general ability; name them with ability, or leave it out")

    @field_validator("ability", mode="before")
    @classmethod
    def _name_tasks(cls, value: object) -> object:
        given = value.split(",") if isinstance(value, str) else value
        names = [str(name).strip() for name in given] if isinstance(given, list | tuple) else given
        return tuple(TASK_NAMES) if names == ["all"] else names

    @field_validator("ability")
    @classmethod
    def _known_tasks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in TASK_NAMES]
        if unknown:
            raise ValueError(f"there is no task {unknown[0]!r}; choose from {', '.join(TASK_NAMES)}, or all")
        return tuple(dict.fromkeys(value))


class MethodOptions(BaseModel):
    """Settings of the methods that are fitted in this run."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Methods")

    settings: OneOrMore = Field(
        (),
        description="A method's setting, such as scan.threshold=0.7; may be given more than once.",
        json_schema_extra={"short": "-s"},
    )
    sft_data: Path | None = Field(
        None,
        description="For the method sft: .jsonl or .csv file of harmless prompts with helpful answers, instead of the "
        "model's own, such as FalseReject's training set.",
    )

    @property
    def method_settings(self) -> tuple[str, ...]:
        """All settings, as texts such as ``scan.threshold=0.7``."""
        return self.settings if self.sft_data is None else (*self.settings, f"sft.data={self.sft_data}")
