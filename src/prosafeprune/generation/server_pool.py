"""Servers that share the work. Each has an openai client that retries; when it gives up, the next server is asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from prosafeprune.generation.endpoint_address import Address
from prosafeprune.generation.server_errors import ServerFailedError

if TYPE_CHECKING:
    from openai import OpenAI

Result = TypeVar("Result")


@dataclass
class Server:
    """One server."""

    address: Address
    client: OpenAI = field(repr=False)
    has_failed: bool = False


class ServerPool:
    """Sends requests to servers in rotation. Safe to use from many threads.

    A server that failed a request and all its retries is used again only when the others fail as well: each further
    attempt would block a worker for all the retries.
    """

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = list(servers)
        self._turns = itertools.count()

    def send(self, ask: Callable[[Server], Result]) -> Result:
        """Return what ``ask`` returns for the first server that does not fail.

        Raises:
            ServerFailedError: all of them failed.
            InputError: as ``ask`` does.
        """
        first = next(self._turns) % len(self.servers)
        in_turn = self.servers[first:] + self.servers[:first]
        *others, last = sorted(in_turn, key=lambda server: server.has_failed)
        for server in others:
            try:
                return self._send_to(server, ask)
            except ServerFailedError:
                continue
        return self._send_to(last, ask)

    def _send_to(self, server: Server, ask: Callable[[Server], Result]) -> Result:
        try:
            result = ask(server)
        except ServerFailedError:
            server.has_failed = True
            raise
        server.has_failed = False
        return result
