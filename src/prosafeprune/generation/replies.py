"""What servers send back, read with care: the OpenAI format has many speakers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from prosafeprune.generation.endpoint_address import excerpt
from prosafeprune.generation.server_pool import Trouble

THOUGHT_TAG = re.compile(r"</?think>")


@dataclass(frozen=True)
class Reply:
    """What a model said."""

    text: str
    """Without its thought; a reply that is nothing but thought begins with ``<think>`` and never ends it."""
    finished: bool
    """Whether the model ended it by itself."""
    withheld: bool = False
    """Whether the server's content filter kept the reply, or part of it, back."""


def read_reply(body: str) -> Reply:
    """Return the reply in the body of an answer to a chat or a text completion.

    Raises:
        Trouble: there is none; servers that restart, and proxies before them, send such things.
    """
    choice = _first_choice(body)
    finish = choice.get("finish_reason")
    message = choice.get("message")
    if not isinstance(message, dict):
        if not isinstance(choice.get("text"), str):
            raise Trouble(f"sent a choice without text ({excerpt(body)})")
        return Reply(choice["text"], finish not in ("length", "content_filter"), finish == "content_filter")
    refusal = message.get("refusal")
    if finish == "content_filter" or refusal:
        text = _text(refusal) or _text(message.get("content"))
        # Words that the filter cut are no finished answer; a refusal in the filter's own words is.
        return Reply(text, bool(refusal) or not text, withheld=True)
    return Reply(_spoken_or_thought(message), finish != "length")


def read_models(body: str) -> list[str] | None:
    """Return the names in a list of models, or None when it is no such list."""
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return None


def _first_choice(body: str) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Trouble(f"sent no JSON ({excerpt(body) or 'nothing'})") from error
    choices = content.get("choices") if isinstance(content, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Trouble(f"sent JSON without choices ({excerpt(body)})")
    return choices[0]


def _spoken_or_thought(message: dict[str, Any]) -> str:
    spoken = _text(message.get("content"))
    thought = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    if spoken.strip() or not thought.strip():
        return spoken
    return "<think>" + THOUGHT_TAG.sub("", thought)


def _text(content: object) -> str:
    """Return plain text as it is, and of a list of parts those that are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(str(part.get("text", "")) for part in parts)
    return ""
