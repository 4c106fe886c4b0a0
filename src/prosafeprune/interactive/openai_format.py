"""Requests and replies of the OpenAI chat API, as far as they are supported."""

import json
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prosafeprune.interactive.http_errors import HttpError
from prosafeprune.prompts.conversation import Turn
from prosafeprune.requests.measuring import MAX_TOKENS
from prosafeprune.text import shortened

DEFAULT_TOKENS = 512
UNSUPPORTED = {
    "tools": (None, []),
    "functions": (None, []),
    "logprobs": (None, False),
    "logit_bias": (None, {}),
    "n": (None, 1),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "reasoning_effort": (None, "none"),
    # Of vLLM, llama.cpp and others:
    "top_k": (None, -1, 0),
    "min_p": (None, 0),
    "typical_p": (None, 1),
    "repetition_penalty": (None, 1),
    "repeat_penalty": (None, 1),
    "length_penalty": (None, 1),
    "best_of": (None, 1),
    "use_beam_search": (None, False),
    "min_tokens": (None, 0),
    "ignore_eos": (None, False),
    "stop_token_ids": (None, []),
    "bad_words": (None, []),
    "allowed_token_ids": (None,),
    "include_stop_str_in_output": (None, False),
    "truncate_prompt_tokens": (None,),
    "chat_template": (None,),
    "chat_template_kwargs": (None, {}),
    "add_generation_prompt": (None, True),
    "continue_final_message": (None, False),
    "structured_outputs": (None,),
    "guided_json": (None,),
    "guided_regex": (None,),
    "guided_choice": (None,),
    "guided_grammar": (None,),
    "json_schema": (None,),
    "grammar": (None, ""),
}
"""Settings that would change the answer and are not implemented, with the values that ask for nothing."""


class _TextPart(BaseModel):
    type: Literal["text"]
    text: str


class _Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        # A line each, as vLLM joins them for templates that take texts alone.
        return "\n".join(_TextPart.model_validate(part).text for part in value) if isinstance(value, list) else value


class _StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of a request for an answer."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[_Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @field_validator("stop")
    @classmethod
    def _few_and_short(cls, value: str | list[str] | None) -> str | list[str] | None:
        given = [value] if isinstance(value, str) else value or []
        if len(given) > 16 or any(not 0 < len(text) <= 200 for text in given):
            raise ValueError("at most 16 strings of 1 to 200 characters")
        return value

    @property
    def limit(self) -> int | None:
        """Maximum tokens of the answer, if the request gives it."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def system(self) -> str | None:
        """The system prompt: all system messages, joined."""
        found = [message.content for message in self.messages if message.role in ("system", "developer")]
        return "\n\n".join(found) or None

    @property
    def turns(self) -> list[Turn]:
        """The user's and the assistant's turns."""
        return [(message.role, message.content) for message in self.messages if message.role in ("user", "assistant")]

    @property
    def seed_of_row(self) -> str:
        """The seed of the answer, as :class:`LocalGenerator` makes it; a random one unless it was given."""
        return f"{secrets.randbits(63) if self.seed is None else self.seed} {self.messages[-1].content}"


def read_chat_request(body: dict[str, Any]) -> ChatRequest:
    """Return a request. Raises HttpError when a setting is wrong or not supported; the error names it."""
    for name, neutral in UNSUPPORTED.items():
        if body.get(name) not in neutral:
            raise HttpError(
                HTTPStatus.BAD_REQUEST, f"{name} is not supported by this server. Leave it out.", param=name
            )
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        message = f"{where}: {shortened(str(problem['msg']).removeprefix('Value error, '), 200)}."
        raise HttpError(HTTPStatus.BAD_REQUEST, message, param=where) from error


@dataclass(frozen=True)
class Reply:
    """The parts of one reply, which share an id."""

    model: str
    prompt_tokens: int
    identity: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def complete(self, text: str, finish: str | None, tokens: int) -> dict[str, Any]:
        """Return the answer in one object."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        return {**self._head("chat.completion"), "choices": [{**choice, "logprobs": None}], "usage": self.usage(tokens)}

    def event(self, delta: dict[str, str], finish: str | None = None) -> str:
        """Return a part of a streamed answer as an event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return as_event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def usage_event(self, tokens: int) -> str:
        """Return the event that gives the numbers of tokens."""
        return as_event({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage(tokens)})

    def usage(self, tokens: int) -> dict[str, int]:
        """Return the numbers of tokens."""
        total = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens, "total_tokens": total}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.identity, "object": kind, "created": self.created, "model": self.model}


def as_event(content: Any) -> str:
    """Return JSON as a server-sent event; line breaks and lone surrogates in it are escaped."""
    return f"data: {json.dumps(content)}\n\n"
