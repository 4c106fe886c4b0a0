"""One model behind one or more servers that speak the OpenAI format, whether it answers prompts or judges answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from prosafeprune.errors import InputError
from prosafeprune.generation.dialect import Dialect
from prosafeprune.generation.endpoint_address import Address, api_key, read_addresses
from prosafeprune.generation.replies import Reply, read_models, read_reply
from prosafeprune.generation.server_errors import error_message, explain, is_filtered
from prosafeprune.generation.server_pool import GaveUp, Patience, Server, ServerPool
from prosafeprune.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError

TIMEOUT = 300.0
"""Seconds that one answer may take."""
CONNECT_TIMEOUT = 10.0
PATIENCE = Patience()
PROBE = "Hi"
PROBE_TOKENS = 16
CHECK_ATTEMPTS = 3


def chat(prompt: str, system: str | None = None) -> dict[str, Any]:
    """Return the content of a request for a chat completion: one user message."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    return {"messages": [*messages, {"role": "user", "content": prompt}]}


def raw(prompt: str) -> dict[str, Any]:
    """Return the content of a request for a text completion: the model sees the prompt as it is, without template."""
    return {"prompt": prompt}


class OpenAIClient:
    """Asks a model; failed requests are tried again, on another server where there is one. Safe for many threads."""

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: Patience = PATIENCE,
        reporter: Reporter | None = None,
    ) -> None:
        addresses = read_addresses(urls)
        key = api_key()
        self.fleet = ServerPool([Server(address, _connect(address, key, timeout)) for address in addresses], patience)
        self.timeout = timeout
        self.reporter = reporter or SilentReporter()
        self._model = model
        self._dialect = Dialect()
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """The model's name; when none was given, the one model that the server offers.

        Raises:
            InputError: the server offers none, or several.
        """
        with self._lock:
            if self._model is None:
                self._model = self._only_model(self.fleet.servers[0])
        return self._model

    def describe(self) -> dict[str, Any]:
        """Return the servers and the model as plain JSON values, without any credential."""
        return {"urls": [server.address.shown for server in self.fleet.servers], "model": self.model}

    def check(self, *, is_raw: bool = False) -> None:
        """See, before the long work, that every server can be reached, takes the key and knows the model.

        Raises:
            InputError: one of these is not so.
        """
        for server in self.fleet.servers:
            names = self._offered(server)
            if names is not None and self.model in names:
                continue
            # Some servers list nothing, or not everything they can load.
            content = raw(PROBE) if is_raw else chat(PROBE)
            patience = replace(self.fleet.patience, attempts=min(self.fleet.patience.attempts, CHECK_ATTEMPTS))
            try:
                ServerPool([server], patience).send(partial(self._ask, content=content, max_tokens=PROBE_TOKENS))
            except GaveUp as error:
                raise InputError(f"{error} The model asked for is '{self.model}'.{_list(names)}") from None

    def ask(
        self, content: Mapping[str, Any], *, max_tokens: int, temperature: float = 0.0, seed: int | None = None
    ) -> Reply:
        """Return the model's reply to what ``chat`` or ``raw`` made of a prompt.

        Raises:
            PromptTooLong: the prompt does not fit the model.
            InputError: every attempt failed, or the server wants something else.
        """
        return self.fleet.send(
            partial(self._ask, content=content, max_tokens=max_tokens, temperature=temperature, seed=seed)
        )

    def _ask(
        self,
        server: Server,
        content: Mapping[str, Any],
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Reply:
        import openai

        while True:
            body = self._dialect.body(self.model, content, max_tokens, temperature, seed)
            completions: Any = server.client.chat.completions if "messages" in content else server.client.completions
            try:
                response = completions.with_raw_response.create(**body)
            except openai.NotFoundError as error:
                raise self._not_found(server, error) from None
            except openai.OpenAIError as error:
                if self._learns(server, error, body):
                    continue
                if is_filtered(error):
                    return Reply("", finished=True, withheld=True)
                # Not chained: a traceback would show what the server sent, and it may have sent the key back.
                raise explain(error, server.address, self.timeout) from None
            except UnicodeEncodeError as error:
                raise InputError("A prompt holds half a character (a lone surrogate). Mend or drop it.") from error
            return read_reply(response.text)

    def _learns(self, server: Server, error: OpenAIError, body: Mapping[str, Any]) -> bool:
        if getattr(error, "status_code", None) not in (400, 422):
            return False
        with self._lock:
            meaning = self._dialect.learn(error_message(error), body)
        if meaning:
            self.reporter.warning(f"{server.address.shown}: {meaning}.")
        return meaning is not None

    def _not_found(self, server: Server, error: OpenAIError) -> InputError:
        try:
            names = self._offered(server)
        except InputError:
            names = None
        if names:
            return InputError(f"{server.address.shown}: knows no model '{self.model}'.{_list(names)}")
        return InputError(
            f"{server.address.shown}: not found (HTTP 404: {error_message(error)}). Check the URL, which mostly ends "
            f"in /v1, and the model '{self.model}'."
        )

    def _only_model(self, server: Server) -> str:
        names = self._offered(server)
        if not names:
            raise InputError(f"{server.address.shown}: does not say which models it has. Name the model.")
        if len(names) > 1:
            raise InputError(f"{server.address.shown}: has several models. Name one.{_list(names)}")
        return names[0]

    def _offered(self, server: Server) -> list[str] | None:
        """Return the names of the models a server lists, or None when it lists none.

        Raises:
            InputError: it cannot be reached, or does not take the key.
        """
        import openai

        try:
            listing = server.client.models.with_raw_response.list(timeout=CONNECT_TIMEOUT)
        except openai.APIConnectionError as error:
            reason = explain(error, server.address, CONNECT_TIMEOUT)
            raise InputError(f"{server.address.shown}: {reason}. Check the URL, and that the server is up.") from None
        except openai.OpenAIError as error:
            meaning = explain(error, server.address, CONNECT_TIMEOUT)
            if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
                raise meaning from None
            return None
        return read_models(listing.text)


def _connect(address: Address, key: str, timeout: float) -> OpenAI:
    import openai

    limits = openai.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT))
    return openai.OpenAI(base_url=address.url, api_key=key, timeout=limits, max_retries=0)


def _list(names: Sequence[str] | None) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f" It offers: {', '.join(names[:10])}{more}."
