"""Event streams from servers that stream although they were not asked to."""

from __future__ import annotations

import json
import re
from typing import Any

LINE_END = re.compile("\r\n|\r|\n")
"""Of the format; ``str.splitlines`` also splits at characters that an answer may contain."""


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
