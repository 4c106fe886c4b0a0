"""What a failed request means: worth another try, the user's to mend, or the fault of one prompt."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prosafeprune.errors import InputError
from prosafeprune.generation.endpoint_address import KEY_VARIABLES, Address, excerpt, key_variable
from prosafeprune.generation.server_pool import Trouble

if TYPE_CHECKING:
    from openai import OpenAIError

PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
TOO_LONG = re.compile(r"context[ _](?:length|size|window)|maximum context|prompt is too long", re.I)
TIMEOUT_COST = 3
"""A time-out takes long, and is the likelier to come again: of eight attempts, the third is the last."""
NO_CREDIT = "insufficient_quota"
FILTER_CODES = ("content_filter", "content_policy_violation")


class PromptTooLong(InputError):
    """A prompt and the answer asked for do not fit the model's context; other prompts may."""


def explain(error: OpenAIError, address: Address, timeout: float) -> Exception:
    """Return what to raise for an error of the client: Trouble, PromptTooLong or InputError."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return Trouble(f"gave no answer within {timeout:g} s", cost=TIMEOUT_COST)
    if isinstance(error, openai.APIConnectionError):
        return Trouble(f"cannot be reached ({excerpt(str(error.__cause__ or error))})")
    if not isinstance(error, openai.APIStatusError):
        return Trouble(f"sent no proper answer ({excerpt(str(error))})")
    status, message = error.status_code, error_message(error)
    told = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _key_error(address, status)
    if error.code == NO_CREDIT:
        return InputError(f"{address.shown}: {told}. Add credit to the account, or use another key or server.")
    if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Trouble(told, _asked_wait(error.response.headers))
    if TOO_LONG.search(f"{error.code} {message}"):
        return PromptTooLong(f"{address.shown}: the prompt is too long for the model ({told}). Shorten it.")
    return InputError(f"{address.shown}: does not take the request ({told}). Check the URL and the model.")


def error_message(error: OpenAIError) -> str:
    """Return what the server said of an error, in one line and without keys; empty when it said nothing."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, dict):
        found = (body.get(name) for name in ("message", "detail", "error"))
        body = next((text for text in found if text), body)
    return excerpt(str(body)) if body else ""


def is_filtered(error: OpenAIError) -> bool:
    """Tell whether the server's content filter rejected the prompt."""
    return getattr(error, "code", None) in FILTER_CODES


def _key_error(address: Address, status: int) -> InputError:
    name = key_variable()
    if name is None:
        return InputError(f"{address.shown}: wants a key (HTTP {status}). Set {KEY_VARIABLES[0]} to one.")
    return InputError(f"{address.shown}: does not take the key in {name} (HTTP {status}). Set it to one it takes.")


def _asked_wait(headers: Any) -> float | None:
    """Return how many seconds the server asks to wait, if it does: it may name a number or a time."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(float(milliseconds) / 1000, 0.0)
        value = headers.get("retry-after")
        if value is None:
            return None
        if re.fullmatch(r"\s*\d+(?:\.\d+)?\s*", value):
            return float(value)
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
