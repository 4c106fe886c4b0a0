"""What a user asks of ``evaluate``, as one validated object."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from prosafeprune.requests.endpoint import EndpointOptions
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import (
    DRAFT_PROMPTS,
    MAX_TOKENS,
    AbilityOptions,
    BenchmarkOptions,
    DraftOptions,
    LoadOptions,
    MethodOptions,
    ModelOptions,
    SeedOptions,
    with_draft_defaults,
)
from prosafeprune.requests.parsing import PathOrName


class EvaluateRequest(
    LoadOptions,
    EndpointOptions,
    AbilityOptions,
    DraftOptions,
    BenchmarkOptions,
    SeedOptions,
    MethodOptions,
    ModelOptions,
    JudgeOptions,
):
    """Everything that decides the outcome of an evaluation, except where it is written."""

    model_config = ConfigDict(title="Evaluation")
    in_both_modes: ClassVar[bool] = True

    model: str = Field(
        "",
        description="Local folder, hub id, .gguf file or LoRA adapter. With --endpoint, the model's name there "
        "(default: the only one served).",
    )
    method: str = Field(
        "default",
        description="How MODEL answers: default, prompt, self-cd, scan, surgical, prosafeprune (with --fitted), sft, "
        "self-training, actor, safe-patching, null-space, abliteration, abliteration-norms, or your own as "
        "module:Class. To measure several, use prosafeprune compare.",
    )
    fitted: Path | None = Field(
        None, description="File with the fitted method, as compare writes it. Default: the method is fitted first."
    )
    max_new_tokens: int = Field(256, ge=1, le=MAX_TOKENS, description="Maximum tokens of each judged answer.")
    temperature: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Sampling temperature; 0 is greedy decoding."
    )
    repeats: int = Field(1, ge=1, le=1000, description="Answers sampled per prompt; needs a temperature.")
    base: PathOrName | None = Field(
        None,
        description="The base model that MODEL was made from (folder, hub id or .gguf file): also report the benign "
        "KL, the divergence of MODEL from it on benign prompts.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_older_request(cls, values: Any) -> Any:
        """Read the names of version 0.1: base was source, and sets to measure on had the names of calibration sets."""
        if not isinstance(values, dict):
            return values
        former = {"pseudo_harmful": "test_pseudo_harmful", "harmful": "test_harmful", "source": "base"}
        renamed = {former.get(name, name): value for name, value in values.items()}
        return with_draft_defaults(renamed, {"benchmark_samples": DRAFT_PROMPTS})

    @model_validator(mode="after")
    def _nothing_without_effect_on_what_is_measured(self) -> EvaluateRequest:
        self.require_tasks()
        self.require_read_files()
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> EvaluateRequest:
        if not self.model and self.endpoint is None:
            raise ValueError("a model or an endpoint is needed")
        if self.thinking != "off" and self.endpoint is not None:
            raise ValueError(
                "thinking is the server's: ask for it with --request 'chat_template_kwargs={\"enable_thinking\": true}'"
            )
        if self.load is not None and (self.endpoint is not None or self.method != "default"):
            raise ValueError("load is for a model in memory without a method; leave out load, or endpoint and method")
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("without a temperature all repeats are the same; give a temperature")
        if self.method != "default" and self.endpoint is not None:
            raise ValueError("a method needs a model in memory, not behind an endpoint")
        if self.fitted is not None and self.method == "default":
            raise ValueError("a fitted file belongs to a method; name it with method")
        if self.method_settings and (self.method == "default" or self.fitted is not None):
            raise ValueError(
                "a method's settings are for a method that is fitted in this run; a fitted file has its own"
            )
        if self.method != "default" and self.base is not None:
            raise ValueError("the divergence from base is not measured for a method; leave out one of the two")
        if self.base is not None and self.endpoint is not None:
            raise ValueError("base can only be compared with a model in memory, not with one behind an endpoint")
        return self
