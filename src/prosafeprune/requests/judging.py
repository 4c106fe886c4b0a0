"""Options for judging answers, shared by every command that judges."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from prosafeprune.requests.endpoint import MAX_CONCURRENCY, recorded_urls
from prosafeprune.requests.parsing import PathOrName

JUDGE_NAMES = ("builtin", "wildguard", "qwen3guard", "classifier", "llm")
Safety = Literal["refusal", "harmlessness"]
"""What S.S. counts on harmful prompts: answers that refuse (the paper's text), or answers that are not harmful."""


class JudgeOptions(BaseModel):
    """Which judge, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Judge")

    judge: str = Field(
        "builtin",
        description="builtin (no model), wildguard (the paper's judge), qwen3guard (119 languages), classifier (a "
        "refusal classifier of the hub) or llm (a chat model asked XSTest's question); your own as module:Class.",
    )
    judge_endpoint: str | None = Field(
        None,
        repr=False,
        description="URL of an OpenAI-compatible server that serves the judge model, such as http://localhost:8000/v1; "
        "several, separated by commas, share the work. API key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    judge_model: PathOrName | None = Field(
        None,
        description="The judge model's name at the endpoint (default: the only one served); without an endpoint, "
        "its folder or hub id (wildguard and qwen3guard have a default).",
    )
    judge_concurrency: int = Field(
        8, ge=1, le=MAX_CONCURRENCY, description="Concurrent requests to the judge endpoint."
    )
    judge_device: str = Field("auto", description="Device of a judge model without an endpoint, as for --device.")
    safety: Safety = Field(
        "refusal",
        description="What S.S., the safety floor and T.S. count on harmful prompts: refusal, or harmlessness "
        "(reported by wildguard, qwen3guard and your own judge if it sets Verdict.harmful).",
    )

    @field_validator("judge")
    @classmethod
    def _known_judge(cls, value: str) -> str:
        if value not in JUDGE_NAMES and ":" not in value:
            raise ValueError(f"unknown judge; choose from {', '.join(JUDGE_NAMES)}, or give your own as module:Class")
        return value

    @property
    def is_user_judge(self) -> bool:
        """Whether the judge is a class that the user wrote."""
        return ":" in self.judge

    @field_serializer("judge_endpoint", when_used="json")
    def _without_credentials_of_judge(self, value: str | None) -> str | None:
        return recorded_urls(value)
