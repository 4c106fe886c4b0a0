"""Parsing completions of servers: dialects of the OpenAI format are accepted, failures inside HTTP 200 are detected."""

import json
import re
from dataclasses import dataclass
from typing import Any

from prosafeprune.generation.credentials import SHORTEST_SECRET_IN_ANSWER, excerpt, hide_secrets
from prosafeprune.text import SURROGATE

THOUGHT_TAG = re.compile(r"</?think>")
COMMENT = re.compile(r"^:.*(?:\n|\Z)", re.M)
"""A comment line, which some proxies send to keep the connection alive."""
FINISHED = {"", "none", "stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed", "done"}
CUT = {"length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "model_length"}
FILTERED = {
    "content_filter",
    # Gemini's own names, which some of its servers do not translate.
    *("safety", "recitation", "blocklist", "prohibited_content", "spii"),
}
LONGEST_ANSWER = 1_000_000
"""Maximum characters of an answer: no model writes more in the tokens asked for, and a judge would read it for
hours."""
LINE_END = re.compile("\r\n|\r|\n")
"""Line endings of the format; ``str.splitlines`` also splits at characters that an answer may contain."""


class FailedCompletion(Exception):
    """A reply with HTTP 200 that holds no answer; the message says why."""


@dataclass(frozen=True)
class Completion:
    """What a model answered."""

    text: str
    """The answer without its reasoning; one that is nothing but reasoning begins with an unclosed ``<think>``."""
    finished: bool
    """Whether the answer ended on its own; False when it was cut off."""
    withheld: bool = False
    """Whether the server's content filter withheld it or part of it."""


def read_completion(reply: bytes) -> Completion:
    """Return the completion in the body of a reply with HTTP 200, to a chat or a text request.

    Lone surrogates in it are replaced, and so are keys that the server quotes.

    Raises:
        FailedCompletion: there is none. Servers that restart, proxies, and hosts whose upstream failed send this.
    """
    body = _decode(reply)
    try:
        return _read_choice(_first_choice(_parse(body), body), body)
    except RecursionError as error:
        raise FailedCompletion("sent JSON that is nested too deeply") from error


def read_model_names(reply: bytes) -> list[str] | None:
    """Return the names in a list of models, or None when it is no such list."""
    try:
        content = _parse(_decode(reply))
        return [SURROGATE.sub("\ufffd", str(model["id"])) for model in content["data"]]
    except (FailedCompletion, RecursionError, KeyError, TypeError):
        return None


def _decode(reply: bytes) -> str:
    return reply.decode("utf-8-sig", errors="replace")


def _parse(body: str) -> Any:
    text = body.strip()
    try:
        if text.startswith((":", "data:", "event:", "id:", "retry:")):
            uncommented = COMMENT.sub("", text).strip()
            return json.loads(uncommented) if uncommented.startswith("{") else join_events(text)
        return json.loads(text)
    except ValueError as error:
        raise FailedCompletion(f"sent no JSON ({excerpt(body) or 'nothing'})") from error


def _first_choice(content: Any, body: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise FailedCompletion(f"sent JSON without choices ({excerpt(body)})")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for part in (content, choice):
        if isinstance(part, dict) and part.get("error"):
            raise FailedCompletion(f"sent an error ({excerpt(json.dumps(part['error'], ensure_ascii=False))})")
    if not isinstance(choice, dict):
        raise FailedCompletion(f"sent JSON without choices ({excerpt(body)})")
    return choice


def _read_choice(choice: dict[str, Any], body: str) -> Completion:
    raw_reason = choice.get("finish_reason")
    reason = str(raw_reason).lower().removeprefix("finish_reason_") if raw_reason is not None else ""
    is_filtered = reason.partition(":")[0] in FILTERED  # Gemini writes "content_filter: SAFETY"
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"content": choice["text"]} if "text" in choice else {}
    text, refusal = _text(message.get("content")), _text(message.get("refusal")) or _refusal_part(message)
    if is_filtered or refusal:
        # Text that the filter cut is not a finished answer; a refusal in the filter's own words is.
        return Completion(_clean(refusal or text or ""), bool(refusal) or not text, withheld=True)
    if reason not in FINISHED | CUT and not (reason in ("tool_calls", "function_call") and text):
        raise FailedCompletion(f"ended with finish_reason {excerpt(str(raw_reason))!r}")
    if not text and (message.get("tool_calls") or message.get("function_call")):
        raise FailedCompletion("called a tool instead of answering")
    reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning")) or ""
    if text is None and not reasoning.strip() and (message.get("content") is not None or "content" not in message):
        raise FailedCompletion(f"sent a choice without text ({excerpt(body)})")
    if not (text or "").strip() and reasoning.strip():
        text = "<think>" + THOUGHT_TAG.sub("", reasoning)
    if len(text or "") > LONGEST_ANSWER:
        raise FailedCompletion(f"sent an answer of {len(text or '')} characters")
    return Completion(_clean(text or ""), reason not in CUT)


def _text(content: object) -> str | None:
    """Return the text of a message's content: a string, a part, or a list of these; None when there is none."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        if content.get("type") in ("thinking", "reasoning", "refusal"):
            return None
        return next((text for key in ("text", "value", "parts", "content") if (text := _text(content.get(key)))), None)
    if isinstance(content, list):
        texts = [text for part in content if (text := _text(part)) is not None]
        return "".join(texts) if texts or not content else None
    return None


def _refusal_part(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return next((_text(part.get("refusal")) for part in parts if isinstance(part, dict) and part.get("refusal")), None)


def _clean(text: str) -> str:
    return hide_secrets(SURROGATE.sub("\ufffd", text), SHORTEST_SECRET_IN_ANSWER)


def join_events(body: str) -> dict[str, Any]:
    """Return the completion that the ``data:`` lines of an event stream add up to, in the form of an unstreamed one.

    A stream that ends without a finish reason was cut by the connection, which is not the model's end: its
    ``finish_reason`` is ``"broken stream"``.

    Raises:
        ValueError: an event is not JSON.
        RecursionError: one is nested too deeply.
    """
    message: dict[str, str] = {}
    finish_reason, text = None, None
    for line in LINE_END.split(body):
        name, _, data = line.partition(":")
        if name != "data" or not data.strip() or data.strip() == "[DONE]":
            continue
        event = json.loads(data)
        choices = event.get("choices") if isinstance(event, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(event, dict) or not isinstance(choice, dict):
            raise ValueError("an event is not an object")
        if event.get("error") or choice.get("error"):
            return {"error": event.get("error") or choice.get("error")}
        finish_reason = choice.get("finish_reason") or finish_reason
        if isinstance(choice.get("text"), str):
            text = (text or "") + choice["text"]
        delta = choice.get("delta") or choice.get("message")
        for key, value in delta.items() if isinstance(delta, dict) else ():
            if isinstance(value, str):
                message[key] = message.get(key, "") + value
            elif value:
                message.setdefault(key, value)
    choice = {"finish_reason": finish_reason or "broken stream"}
    return {"choices": [{**choice, "message": message} if text is None else {**choice, "text": text}]}
