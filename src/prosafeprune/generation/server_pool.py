"""Servers taken in turn; one that fails rests, longer each time, while the others do its work."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from prosafeprune.errors import InputError
from prosafeprune.generation.endpoint_address import Address

if TYPE_CHECKING:
    from openai import OpenAI

Result = TypeVar("Result")


class Trouble(Exception):
    """A request failed in a way that may pass: worth another try."""

    def __init__(self, reason: str, wait: float | None = None, cost: int = 1) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds the server asks to wait, when it says so."""
        self.cost = cost
        """How many attempts it counts for."""


class GaveUp(InputError):
    """Every attempt at a request failed."""


@dataclass(frozen=True)
class Patience:
    """How often a failed request is tried, and how long a server that failed is left alone."""

    attempts: int = 8
    first_delay: float = 0.5
    """Seconds; it doubles with each failure in a row. Eight attempts take about a minute."""
    longest_delay: float = 30.0
    longest_wait: float = 120.0
    """Seconds a server may ask to wait; if it asks for more, the run ends."""

    def delay(self, failures: int) -> float:
        """Return the seconds to rest after so many failures in a row, a little different each time."""
        return min(self.first_delay * 2.0 ** (failures - 1), self.longest_delay) * random.uniform(0.75, 1.25)


@dataclass
class Server:
    """One server and how it has been doing."""

    address: Address
    client: OpenAI = field(repr=False)
    failures: int = 0
    rest_began: float = 0.0
    rests_until: float = 0.0


class ServerPool:
    """Sends requests to whichever server is next and not resting. Safe to use from many threads."""

    def __init__(self, servers: Sequence[Server], patience: Patience) -> None:
        self.servers = list(servers)
        self.patience = patience
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def send(self, ask: Callable[[Server], Result]) -> Result:
        """Return what ``ask`` gets from a server, trying again after Trouble.

        Raises:
            GaveUp: every attempt failed.
            InputError: a server asks for more patience than there is.
        """
        # A request may meet each dead server once before it learns that they rest.
        left = self.patience.attempts + len(self.servers) - 1
        made = 0
        told = ""
        while left > 0:
            server = self._next()
            began = time.monotonic()
            made += 1
            try:
                result = ask(server)
            except Trouble as trouble:
                told = f"{server.address.shown}: {trouble}"
                left -= trouble.cost
                self._let_rest(server, began, trouble)
            else:
                with self._lock:
                    server.failures //= 2
                return result
        raise GaveUp(f"{told}; {made} attempts failed. See that the server is up and well, then run again.")

    def _next(self) -> Server:
        with self._lock:
            now = time.monotonic()
            first = next(self._turns) % len(self.servers)
            in_turn = self.servers[first:] + self.servers[:first]
            server = min(in_turn, key=lambda one: max(one.rests_until - now, 0))
            wait = server.rests_until - now
        if wait > 0:
            time.sleep(wait)
        return server

    def _let_rest(self, server: Server, began: float, trouble: Trouble) -> None:
        if trouble.wait is not None and trouble.wait > self.patience.longest_wait:
            raise InputError(
                f"{server.address.shown}: {trouble}, and asks to wait {trouble.wait:.0f} s. Run again later, or send "
                "fewer requests at a time."
            )
        with self._lock:
            now = time.monotonic()
            # Requests that were under way together fail together: that is one failure, not many.
            if began >= server.rest_began:
                server.failures += 1
                server.rest_began = now
                server.rests_until = now + self.patience.delay(server.failures)
            if trouble.wait is not None:
                server.rests_until = max(server.rests_until, now + trouble.wait)
