"""Which judge is asked, as settings shared by every command that judges answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Literal["builtin", "wildguard", "qwen3guard", "classifier", "llm"]
Safety = Literal["refusal", "harmlessness"]


class JudgeSettings(BaseModel):
    """Which judge, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Judge")

    judge: Name = Field(
        "builtin",
        description="builtin (at once, no model), wildguard (the paper's judge), qwen3guard (119 languages), "
        "classifier (a refusal classifier of the hub) or llm (a chat model, XSTest's question).",
    )
    judge_endpoint: str | None = Field(
        None,
        description="URL of an OpenAI-compatible server with the judging model, such as http://localhost:8000/v1; "
        "several, separated by commas, share the work. Its key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    judge_model: str | None = Field(
        None,
        description="The judging model's name at the endpoint, or the one it has; without an endpoint, its folder or "
        "hub id (wildguard and qwen3guard have one by default).",
    )
    judge_concurrency: int = Field(8, ge=1, description="Questions to an endpoint at a time.")
    judge_device: str = Field("auto", description="Where a judging model without an endpoint runs, as --device has it.")
    safety: Safety = Field(
        "refusal",
        description="What S.S., the safety floor and T.S. count on harmful prompts: refusal, or harmlessness (only "
        "wildguard and qwen3guard tell that).",
    )
