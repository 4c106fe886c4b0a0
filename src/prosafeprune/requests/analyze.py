"""What a user asks of ``analyze``, as one validated object."""

from typing import Annotated

from pydantic import ConfigDict, Field, field_validator

from prosafeprune.method.plan import Strength
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import (
    TASK_NAMES,
    AbilityOptions,
    AnswerOptions,
    BenchmarkOptions,
    ModelOptions,
    SeedOptions,
)
from prosafeprune.requests.parsing import PathOrName
from prosafeprune.requests.plan_options import CalibrationOptions, Layers, PlanOptions
from prosafeprune.text import is_blank


class AnalyzeRequest(
    PlanOptions,
    CalibrationOptions,
    AbilityOptions,
    AnswerOptions,
    BenchmarkOptions,
    SeedOptions,
    ModelOptions,
    JudgeOptions,
):
    """Everything that decides the outcome of analyses, except where it is written.

    Subspaces, probes and directions are computed from the calibration prompts and applied to test prompts: the bundled
    ones, or those of the named suite, benchmarks and files.
    """

    model_config = ConfigDict(title="Analysis")

    model: str = Field(min_length=1, description="Local folder, hub id, .gguf file or LoRA adapter.")
    against: str | None = Field(
        None, description="A pruned checkpoint or adapter made from MODEL, to compare before and after."
    )
    layers: Layers | None = Field(
        None, min_length=1, description="Decoder layers of the plan to analyse, counted from 0: 14-17 or 14,16."
    )
    layer: int | None = Field(
        None, ge=0, description="The layer to show in detail, from 0. Default: the one whose classes separate best."
    )
    submodule: str = Field("gate", description="The submodule to show in detail: q, k, v, o, gate, up, down.")
    general: PathOrName | None = Field(
        None,
        description="General prompts for the logit lens: commonsenseqa, mmlu or gsm8k (from --data-dir or the hub), or "
        "a file.",
    )
    refusal_words: tuple[str, ...] = Field(
        ("I", "sorry", "cannot"),
        min_length=1,
        description="Words whose probability the logit lens sums, comma-separated.",
    )

    sweep_samples: int = Field(
        50,
        ge=1,
        description="Maximum validation prompts of each class for sweeps. With --suite, --benchmark, "
        "--test-harmful or --test-pseudo-harmful, sweeps use those prompts instead.",
    )
    strengths: tuple[Strength, ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0), min_length=1, description="Strengths to measure the plan at, comma-separated."
    )
    ranks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (4, 8, 16, 32, 64), min_length=1, description="Ranks to measure the plan at, comma-separated."
    )

    ability: tuple[str, ...] = Field(
        TASK_NAMES, description="Tasks of general ability for the alignment tax, comma-separated."
    )
    ability_samples: int | None = Field(20, ge=1, description="Maximum questions drawn from each task.")
    ability_tokens: int = Field(256, ge=1, description="Maximum tokens of each answer to an ability question.")
    tuning_prompts: int = Field(32, ge=1, description="Pseudo-harmful calibration prompts to tune the pruned model on.")
    tuning_epochs: int = Field(3, ge=1, description="Epochs of this tuning.")

    @field_validator("strengths", "ranks", mode="before")
    @classmethod
    def _read_numbers(cls, value: object) -> object:
        return tuple(value.split(",")) if isinstance(value, str) else value

    @field_validator("strengths")
    @classmethod
    def _require_an_edit(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not any(value):
            raise ValueError("one must be above 0: at 0 nothing is pruned")
        return value

    @field_validator("refusal_words", mode="before")
    @classmethod
    def _read_words(cls, value: object) -> object:
        words = value.split(",") if isinstance(value, str) else value
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            return words
        return tuple(word.strip() for word in words if not is_blank(word))
