"""What a user asks to be evaluated, as one validated object."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field, field_validator, model_validator

from prosafeprune.requests.measuring import AbilitySettings


class EvaluationRequest(AbilitySettings):
    """Everything that decides the result of an evaluation, apart from where it is written."""

    model_config = ConfigDict(title="Evaluation")

    model: str = Field(
        "",
        description="Local folder, hub id, .gguf file or LoRA adapter. With --endpoint, the model's name there; may be "
        "left out when the server has just one.",
    )
    endpoint: str | None = Field(
        None,
        description="URL of an OpenAI-compatible server that has the model, such as http://localhost:8000/v1; several, "
        "separated by commas, share the work. Its key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    concurrency: int = Field(8, ge=1, description="Prompts sent to an endpoint at a time.")
    pseudo_harmful: str | None = Field(
        None, description="Harmless prompts of your own to measure on: .jsonl, .csv, .txt or a hub dataset id."
    )
    harmful: str | None = Field(None, description="Harmful prompts of your own, likewise.")
    method: str = Field(
        "default",
        description="How MODEL answers: default, prompt, self-cd, scan, surgical, prosafeprune (with --fitted), or one "
        "of your own as module:Class. All together: prosafeprune compare.",
    )
    settings: tuple[str, ...] = Field(
        (),
        description="A setting of that method, such as scan.threshold=0.7; may be given more than once.",
        json_schema_extra={"short": "-s"},
    )
    fitted: Path | None = Field(
        None, description="File that the method was fitted into, as compare keeps them; else it is fitted now."
    )
    temperature: float = Field(
        0.0, ge=0, description="0 takes the likeliest token each time; above, answers are drawn."
    )
    repeats: int = Field(1, ge=1, description="Answers drawn to each prompt; needs a temperature.")
    source: str | None = Field(
        None,
        description="The model that MODEL was made from: report how far it has moved from it on benign prompts.",
    )

    @field_validator("settings", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_together(self) -> EvaluationRequest:
        if not self.model and self.endpoint is None:
            raise ValueError("a model or an endpoint is needed")
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("repeats without a temperature would all be the same; give a temperature")
        if self.method != "default" and self.endpoint is not None:
            raise ValueError("a method works on a model in memory, not behind an endpoint")
        if self.fitted is not None and self.method == "default":
            raise ValueError("a fitted file is for a method; name it with method")
        if self.settings and (self.method == "default" or self.fitted is not None):
            raise ValueError("settings are of a method that is fitted now; a fitted file has its own")
        if self.method != "default" and self.source is not None:
            raise ValueError("how far a method moves a model from a source is not measured; leave out one of the two")
        if self.source is not None and self.endpoint is not None:
            raise ValueError("a source can be compared with a model in memory alone, not behind an endpoint")
        return self
