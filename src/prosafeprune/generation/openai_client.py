"""One model behind servers that speak the OpenAI format, measured or judging, and the requests that they accept."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from prosafeprune.errors import InputError
from prosafeprune.generation.completion import Completion, read_completion, read_model_names
from prosafeprune.generation.credentials import api_key, excerpt
from prosafeprune.generation.endpoint_address import Address, read_addresses
from prosafeprune.generation.server_errors import ServerFailedError, error_message, explain, is_filtered
from prosafeprune.generation.server_pool import Server, ServerPool
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts.conversation import messages_of_turns, split_system

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError

OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
OPTIONAL = {
    "seed": "does not accept a seed, so sampled answers differ from run to run",
    "temperature": "does not accept a temperature, so answers may differ from run to run",
    "top_p": "does not accept top_p, so sampling follows the server's own settings",
}
"""Settings that can be left out, each with the consequence of doing so."""
TIMEOUT = 300.0
"""Seconds for one complete reply."""
CONNECT_TIMEOUT = 10.0
RETRIES = 10
"""Maximum retries: about a minute with the openai client's delays, long enough for a server to restart."""
PROBE = "Hi"
PROBE_TOKENS = 16
CHECK_RETRIES = 2


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


def chat(prompt: str, system: str | None = None) -> dict[str, Any]:
    """Return the content of a chat request: the prompt's turns, after ``system`` and its own system prompt, if any."""
    own, turns = split_system(prompt)
    parts = [text for text in (system, own) if text is not None]
    return {"messages": messages_of_turns([*([("system", "\n\n".join(parts))] if parts else []), *turns])}


def raw(prompt: str) -> dict[str, Any]:
    """Return the content of a text request: the model gets the prompt as it is, without a chat template."""
    return {"prompt": prompt}


class OpenAIClient:
    """Requests completions. Failed requests are retried, then sent to another server. Safe to use from many threads."""

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        extra: Mapping[str, Any] | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        """Connect to these servers.

        Args:
            urls: base URLs, in a list or separated by commas.
            model: its name at the servers; None for the only one they have.
            timeout: seconds for one complete reply.
            retries: how often a failed request is sent again to the same server.
            extra: fields to add to the body of every request.
            reporter: warned of settings that a server does not accept.

        Raises:
            InputError: a URL or the key is unusable.
        """
        addresses = read_addresses(urls)
        key = api_key()
        self.pool = ServerPool([Server(address, _connect(address, key, timeout, retries)) for address in addresses])
        self.timeout, self.retries = timeout, retries
        self.reporter = reporter
        self._model = model
        self._format = RequestFormat(extra)
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """The model's name; when none was given, that of the only model the server has.

        Raises:
            InputError: the server lists none, or several.
        """
        with self._lock:
            if self._model is None:
                self._model = self._only_model(self.pool.servers[0])
        return self._model

    def describe(self) -> dict[str, Any]:
        """Return the servers, the model and the extra fields as plain JSON values, without credentials."""
        urls = [server.address.shown for server in self.pool.servers]
        # None rather than absent: answers made with extra fields must not be taken for answers made without.
        return {"urls": urls, "model": self.model, "request": self._format.extra or None}

    def check(self, *, is_raw: bool = False) -> None:
        """Check that every server can be reached, accepts the key and knows the model.

        Raises:
            InputError: one does not.
        """
        for server in self.pool.servers:
            names = self._model_names(server)
            if names is not None and self.model in names:
                continue
            # Some servers list nothing, or not everything they can load.
            content = raw(PROBE) if is_raw else chat(PROBE)
            client = server.client.with_options(max_retries=min(self.retries, CHECK_RETRIES))
            try:
                self._ask(Server(server.address, client), content=content, max_tokens=PROBE_TOKENS)
            except ServerFailedError as error:
                raise InputError(f"{error} The model asked for is '{self.model}'.{_list(names)}") from None

    def ask(
        self, content: Mapping[str, Any], *, max_tokens: int, temperature: float = 0.0, seed: int | None = None
    ) -> Completion:
        """Return the model's completion of what ``chat`` or ``raw`` made of a prompt.

        Raises:
            PromptTooLong: the prompt does not fit the model.
            ServerFailedError: every server failed, and all retries.
            InputError: a server rejects the request.
        """
        return self.pool.send(
            partial(self._ask, content=content, max_tokens=max_tokens, temperature=temperature, seed=seed)
        )

    def _ask(
        self,
        server: Server,
        content: Mapping[str, Any],
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Completion:
        import openai

        while True:
            body = self._format.body(self.model, content, max_tokens, temperature, seed)
            completions: Any = server.client.chat.completions if "messages" in content else server.client.completions
            try:
                response = completions.with_raw_response.create(**body)
            except openai.NotFoundError as error:
                raise self._not_found(server, error) from None
            except openai.OpenAIError as error:
                if self._adapts(server, error, body):
                    continue
                if is_filtered(error):
                    return Completion("", finished=True, withheld=True)
                # Not chained: a traceback would show what the server sent, which may include the key.
                raise explain(error, server.address, self.timeout) from None
            except UnicodeEncodeError as error:
                raise InputError("A prompt contains a lone surrogate (half a character). Fix or drop it.") from error
            return read_completion(response.content)

    def _adapts(self, server: Server, error: OpenAIError, body: Mapping[str, Any]) -> bool:
        if getattr(error, "status_code", None) not in (400, 422):
            return False
        with self._lock:
            consequence = self._format.adapt(error_message(error), body)
        if consequence:
            self.reporter.warning(f"{server.address.shown}: {consequence}.")
        return consequence is not None

    def _not_found(self, server: Server, error: OpenAIError) -> InputError:
        try:
            names = self._model_names(server)
        except InputError:
            names = None
        if names:
            return InputError(f"{server.address.shown}: has no model '{self.model}'.{_list(names)}")
        return InputError(
            f"{server.address.shown}: not found (HTTP 404: {error_message(error)}). Check the URL, which usually ends "
            f"in /v1, and the model '{self.model}'."
        )

    def _only_model(self, server: Server) -> str:
        names = self._model_names(server)
        if not names:
            raise InputError(f"{server.address.shown}: does not list its models. Name the model.")
        if len(names) > 1:
            raise InputError(f"{server.address.shown}: has several models. Name one.{_list(names)}")
        if excerpt(names[0]) != names[0]:
            raise InputError(
                f"{server.address.shown}: its model's name cannot be shown as it is ({excerpt(names[0])!r}). Name the "
                "model."
            )
        return names[0]

    def _model_names(self, server: Server) -> list[str] | None:
        """Return the names of the models a server lists, or None when it lists none.

        Raises:
            InputError: it cannot be reached, or rejects the key.
        """
        import openai

        client = server.client.with_options(max_retries=0)
        try:
            listing = client.models.with_raw_response.list(timeout=CONNECT_TIMEOUT)
        except openai.OpenAIError as error:
            # Without a list, a server can still answer; without a connection or with a wrong key, it cannot.
            if isinstance(error, openai.APIStatusError) and not isinstance(
                error, openai.AuthenticationError | openai.PermissionDeniedError
            ):
                return None
            raise explain(error, server.address, CONNECT_TIMEOUT) from None
        return read_model_names(listing.content)


def _connect(address: Address, key: str, timeout: float, retries: int) -> OpenAI:
    import openai

    from prosafeprune.generation.guarded_http import GuardedClient

    return openai.OpenAI(
        base_url=address.url,
        api_key=key,
        timeout=openai.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
        max_retries=retries,
        http_client=GuardedClient(address),
    )


def _list(names: Sequence[str] | None) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f" It has: {', '.join(map(excerpt, names[:10]))}{more}."
