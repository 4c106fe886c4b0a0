"""Which judge is asked, as settings shared by every command that judges answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Literal["builtin", "wildguard", "llm"]


class JudgeSettings(BaseModel):
    """Which judge, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Judge")

    judge: Name = Field(
        "builtin",
        description="builtin (rules, at once), wildguard (the paper's judge) or llm (a chat model, XSTest's question).",
    )
    judge_endpoint: str | None = Field(
        None,
        description="URL of an OpenAI-compatible server with the judging model, such as http://localhost:8000/v1; "
        "several, separated by commas, share the work. Its key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    judge_model: str | None = Field(
        None,
        description="The judging model's name at the endpoint, or the one it has; without an endpoint, WildGuard's "
        "folder or hub id, or allenai/wildguard.",
    )
    judge_concurrency: int = Field(8, ge=1, description="Questions to an endpoint at a time.")
    judge_device: str = Field("auto", description="Where a WildGuard without an endpoint runs, as --device has it.")
