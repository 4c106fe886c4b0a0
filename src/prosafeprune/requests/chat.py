"""What a user asks of ``chat`` and ``playground``, as validated objects."""

from pydantic import Field

from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.measuring import MAX_TOKENS, AnswerOptions, ModelOptions, SeedOptions
from prosafeprune.requests.search import FloorOptions


class TerminalChatRequest(ModelOptions, SeedOptions):
    """The base model of a chat, and how it answers."""

    max_new_tokens: int = Field(512, ge=1, le=MAX_TOKENS, description="Maximum tokens of each answer.")
    temperature: float = Field(0.0, ge=0, le=2, description="0 always takes the most likely token.")


class PlaygroundRequest(FloorOptions, AnswerOptions, ModelOptions, JudgeOptions):
    """The base model and the judge; and, for models that are saved, their length of answers and safety floor."""
