"""Options for judging answers, shared by every command that judges."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from prosafeprune.requests.endpoint import MAX_CONCURRENCY, recorded_urls

JudgeName = Literal["builtin", "wildguard", "llm"]


class JudgeOptions(BaseModel):
    """Which judge, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Judge")

    judge: JudgeName = Field(
        "builtin",
        description="builtin (rules, no model), wildguard (the paper's judge) or llm (a chat model asked XSTest's "
        "question).",
    )
    judge_endpoint: str | None = Field(
        None,
        repr=False,
        description="URL of an OpenAI-compatible server that serves the judge model, such as http://localhost:8000/v1; "
        "several, separated by commas, share the work. API key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    judge_model: str | None = Field(
        None,
        description="The judge model's name at the endpoint (default: the only one served); without an endpoint, "
        "WildGuard's folder or hub id (default: allenai/wildguard).",
    )
    judge_concurrency: int = Field(
        8, ge=1, le=MAX_CONCURRENCY, description="Concurrent requests to the judge endpoint."
    )
    judge_device: str = Field("auto", description="Device of a WildGuard without an endpoint, as for --device.")

    @field_serializer("judge_endpoint", when_used="json")
    def _without_credentials_of_judge(self, value: str | None) -> str | None:
        return recorded_urls(value)
