"""What a user asks of ``chat``, as one validated object."""

from __future__ import annotations

from pydantic import Field

from prosafeprune.requests.measuring import MAX_TOKENS, ModelOptions, SeedOptions


class TerminalChatRequest(ModelOptions, SeedOptions):
    """The base model of a chat, and how it answers."""

    max_new_tokens: int = Field(512, ge=1, le=MAX_TOKENS, description="Maximum tokens of each answer.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 always takes the most likely token.")
