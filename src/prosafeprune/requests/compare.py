"""What a user asks of ``compare``, as one validated object."""

from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from prosafeprune.requests.measuring import (
    DRAFT_PROMPTS,
    MAX_TOKENS,
    AbilityOptions,
    BenchmarkOptions,
    DraftOptions,
    MethodOptions,
    with_draft_defaults,
)
from prosafeprune.requests.plan_options import PlanOptions
from prosafeprune.requests.search import DRAFT_SEARCH, PlanSearchRequest

METHOD_NAMES = ("default", "prompt", "self-cd", "scan", "surgical", "prosafeprune")
ON_REQUEST = (
    *("prompt+prosafeprune", "sft", "self-training", "actor", "safe-patching", "null-space"),
    *("abliteration", "abliteration-norms"),
)
"""Methods that a comparison includes only when named."""
FORMER_FIELDS = ("format", "memory", "unmeasured")
"""In records of version 0.1, without effect."""


class CompareRequest(AbilityOptions, DraftOptions, BenchmarkOptions, MethodOptions, PlanOptions, PlanSearchRequest):
    """Everything that decides the outcome of a comparison, except where it is written."""

    model_config = ConfigDict(title="Comparison")

    methods: tuple[str, ...] = Field(
        METHOD_NAMES,
        min_length=1,
        description=f"Methods, separated by commas. Also: {', '.join(ON_REQUEST)}; your own as module:Class.",
    )
    search: Path | None = Field(None, description="Folder of a finished search, whose plan prosafeprune uses.")
    choose: int | None = Field(None, ge=1, description="Number of a plan in that search. Default: the selected one.")
    pruned: Path | None = Field(None, description="Checkpoint pruned from MODEL, whose weights prosafeprune uses.")
    max_new_tokens: int = Field(256, ge=1, le=MAX_TOKENS, description="Maximum tokens of each judged answer.")

    @model_validator(mode="before")
    @classmethod
    def _read_request(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kept = {name: value for name, value in values.items() if name not in FORMER_FIELDS}
        return with_draft_defaults(kept, {**DRAFT_SEARCH, "benchmark_samples": DRAFT_PROMPTS})

    @model_validator(mode="after")
    def _one_plan(self) -> Self:
        if sum(source is not None for source in (self.layers, self.search, self.pruned)) > 1:
            raise ValueError("layers, search and pruned each name the plan; give one of them")
        if self.choose is not None and (self.layers is not None or self.pruned is not None):
            raise ValueError("choose is a plan of a search, and layers or pruned names another; leave out one of them")
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        self.require_tasks()
        return self

    @field_validator("methods", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @field_validator("methods")
    @classmethod
    def _default_first(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Put the default, which the others are compared with, first, and drop repeats."""
        return tuple(dict.fromkeys(sorted(value, key=lambda name: name != METHOD_NAMES[0])))
