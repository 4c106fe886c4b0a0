"""How a model is measured, as settings that `prune` and `evaluate` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from prosafeprune.requests.judging import JudgeSettings

Suite = Literal["bundled", "paper"]
TASK_NAMES = ("mmlu", "commonsenseqa", "gsm8k")


class MeasuringSettings(JudgeSettings):
    """The model, where it runs, what it is measured on and who judges."""

    model_config = ConfigDict(title="Model and measuring")

    model: str = Field(min_length=1, description="Local folder, hub id or .gguf file.")
    revision: str | None = Field(None, description="Commit, branch or tag of a hub model.")
    trust_remote_code: bool = Field(False, description="Run code that comes with the model.")
    device: str = Field(
        "auto",
        description="auto, cpu, cuda (one GPU), cuda:1, all (layers spread over all GPUs), mps. auto takes all GPUs "
        "for a model too large for one.",
    )
    dtype: str = Field("auto", description="Dtype to run in: auto (as stored), float32, bfloat16, float16.")
    batch_size: int | Literal["auto"] = Field("auto", description="Prompts at a time; auto finds what fits.")
    seed: int = Field(0, ge=0, description="Seed of every draw.")
    prompt_field: str = Field("prompt", description="Column that holds the prompt in files of your own.")
    suite: Suite | None = Field(
        None, description="Sets to measure on: paper (its six benchmarks, its sample sizes) or bundled (the default)."
    )
    benchmark: tuple[str, ...] = Field(
        (),
        description="A benchmark by name, or NAME=FILE to read it from a file; may be given more than once.",
        json_schema_extra={"short": "-b"},
    )
    data_dir: Path | None = Field(
        None, description="Folder with the benchmarks' files, in place of their public homes."
    )
    benchmark_samples: int | None = Field(
        None, ge=1, description="Prompts drawn from each benchmark, at most; else what the suite says, or all."
    )
    max_new_tokens: int = Field(256, ge=1, description="Length of the answers that are judged.")

    @field_validator("batch_size", mode="before")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if isinstance(value, int) and (isinstance(value, bool) or value < 1):
            raise ValueError("must be auto or at least 1")
        return value

    @field_validator("benchmark", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class AbilitySettings(MeasuringSettings):
    """What a model's general ability is measured by, as settings that `evaluate` and `analyze` share."""

    model_config = ConfigDict(title="General ability")

    ability: tuple[str, ...] = Field((), description=f"Tasks of general ability: {', '.join(TASK_NAMES)}, or all.")
    ability_samples: int | None = Field(
        None, ge=1, description="Questions drawn from each task, at most; else what the paper drew."
    )
    ability_tokens: int = Field(512, ge=1, description="Length of the answers to questions of ability.")

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
            raise ValueError(f"there is no task {unknown[0]}; there are {', '.join(TASK_NAMES)}, and all for these")
        return tuple(dict.fromkeys(value))
