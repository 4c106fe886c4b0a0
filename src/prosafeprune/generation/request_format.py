"""Request bodies that a server accepts: newer servers renamed some settings and reject others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
OPTIONAL = {
    "seed": "does not accept a seed, so sampled answers differ from run to run",
    "temperature": "does not accept a temperature, so answers may differ from run to run",
    "top_p": "does not accept top_p, so sampling follows the server's own settings",
}
"""Settings that can be left out, each with the consequence."""


class RequestFormat:
    """Writes request bodies, adapting to what a server has rejected."""

    def __init__(self, extra: Mapping[str, Any] | None = None) -> None:
        self.extra = dict(extra or {})
        self.limit = OLD_LIMIT
        self.left_out: set[str] = set()

    def body(
        self, model: str, content: Mapping[str, Any], max_tokens: int, temperature: float, seed: int | None
    ) -> dict[str, Any]:
        """Return the arguments of a request; ``content`` holds its messages or its prompt."""
        settings: dict[str, Any] = {"temperature": temperature}
        if temperature > 0:
            # Servers have their own defaults here, often the model's.
            settings |= {"top_p": 1.0, "seed": seed}
        limit = self.limit if "messages" in content else OLD_LIMIT
        sent = {name: value for name, value in settings.items() if name not in self.left_out and value is not None}
        extra = {"extra_body": self.extra} if self.extra else {}
        return {"model": model, **content, limit: max_tokens, **sent, **extra}

    def adapt(self, message: str, body: Mapping[str, Any]) -> str | None:
        """Adapt to the message with which a body was rejected.

        Returns the consequence, which may be empty, or None when the message names nothing that can be changed.
        """
        if OLD_LIMIT in body and "messages" in body and NEW_LIMIT in message:
            self.limit = NEW_LIMIT
            return ""
        for name, consequence in OPTIONAL.items():
            if name in body and re.search(rf"\b{name}\b", message):
                self.left_out.add(name)
                return consequence
        return None
