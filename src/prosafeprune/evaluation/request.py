"""What a user asks to be evaluated, as one validated object."""

from __future__ import annotations

from pydantic import ConfigDict, Field, field_validator, model_validator

from prosafeprune.evaluation.settings import MeasuringSettings

TASK_NAMES = ("mmlu", "commonsenseqa", "gsm8k")


class EvaluationRequest(MeasuringSettings):
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
    temperature: float = Field(
        0.0, ge=0, description="0 takes the likeliest token each time; above, answers are drawn."
    )
    repeats: int = Field(1, ge=1, description="Answers drawn to each prompt; needs a temperature.")
    ability: tuple[str, ...] = Field((), description=f"Tasks of general ability: {', '.join(TASK_NAMES)}, or all.")
    ability_samples: int | None = Field(
        None, ge=1, description="Questions drawn from each task, at most; else what the paper drew."
    )
    ability_tokens: int = Field(512, ge=1, description="Length of the answers to questions of ability.")
    source: str | None = Field(
        None,
        description="The model that MODEL was made from: report how far it has moved from it on benign prompts.",
    )

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

    @model_validator(mode="after")
    def _fits_together(self) -> EvaluationRequest:
        if not self.model and self.endpoint is None:
            raise ValueError("a model or an endpoint is needed")
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("repeats without a temperature would all be the same; give a temperature")
        if self.source is not None and self.endpoint is not None:
            raise ValueError("a source can be compared with a model in memory alone, not behind an endpoint")
        return self
