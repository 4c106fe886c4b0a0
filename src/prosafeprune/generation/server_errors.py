"""Classifying failed requests: the server's fault, the user's to fix, or caused by one prompt."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prosafeprune.errors import InputError
from prosafeprune.generation.credentials import KEY_VARIABLES, excerpt, key_variable

if TYPE_CHECKING:
    from openai import OpenAIError

    from prosafeprune.generation.endpoint_address import Address

RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
"""Statuses that the openai client retries besides server errors."""
TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum context|prompt is too long"
    r"|maximum model length"  # vLLM's engine
    r"|`inputs` (?:tokens \+|must have less)"  # text-generation-inference
    r"|input token count",  # Gemini
    re.I,
)
FILTER_CODES = ("content_filter", "content_policy_violation")


class ServerFailedError(InputError):
    """A server failed at a request and at all its retries; another server may not."""


class PromptTooLong(InputError):
    """A prompt and its answer do not fit the model's context; other prompts may."""


def explain(error: OpenAIError, address: Address, timeout: float) -> InputError:
    """Return what to raise for an error of the client, in one line and without credentials."""
    import openai

    from prosafeprune.generation.guarded_http import FAILED_COMPLETION, NO_CREDIT, ReplyRefusedError

    if isinstance(error, ReplyRefusedError):
        return InputError(f"{address.shown}: {error}")
    if isinstance(error, openai.APITimeoutError):
        return _server_failed(address, f"did not complete a reply within {timeout:g} s")
    if isinstance(error, openai.APIConnectionError):
        return _server_failed(address, f"cannot be reached ({excerpt(str(error.__cause__ or error))})")
    if not isinstance(error, openai.APIStatusError):
        return _server_failed(address, f"sent no valid reply ({excerpt(str(error))})")
    status, message = error.status_code, error_message(error)
    problem = f"HTTP {status}: {message}" if message else f"HTTP {status}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _key_error(address, status)
    if error.code == NO_CREDIT:
        return InputError(f"{address.shown}: {problem}. Add credit to the account, or use another key or server.")
    if status == FAILED_COMPLETION:
        return _server_failed(address, message)
    if status in RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        asked = error.response.headers.get("retry-after")
        return _server_failed(address, problem + (f", with Retry-After {excerpt(asked)}" if asked else ""))
    if TOO_LONG.search(f"{error.code} {message}"):
        return PromptTooLong(f"{address.shown}: the prompt is too long for the model ({problem}). Shorten it.")
    return InputError(f"{address.shown}: rejects the request ({problem}). Check the URL and the model.")


def error_message(error: OpenAIError) -> str:
    """Return the server's error message in one line and without keys; empty when there is none."""
    body: Any = getattr(error, "body", None)
    if isinstance(body, dict):
        found = (body.get(name) for name in ("message", "detail", "error"))
        body = next((text for text in found if text), body)
    return excerpt(str(body)) if body else ""


def is_filtered(error: OpenAIError) -> bool:
    """Return whether the server's content filter rejected the prompt."""
    return getattr(error, "code", None) in FILTER_CODES


def _server_failed(address: Address, problem: str) -> ServerFailedError:
    return ServerFailedError(
        f"{address.shown}: {problem}; every retry failed. Check that the server is up and healthy, then run again: "
        "answers so far are kept."
    )


def _key_error(address: Address, status: int) -> InputError:
    name = key_variable()
    if name is None:
        return InputError(f"{address.shown}: needs a key (HTTP {status}). Set {KEY_VARIABLES[0]} to it.")
    return InputError(f"{address.shown}: rejects the key in {name} (HTTP {status}). Set it to one it accepts.")
