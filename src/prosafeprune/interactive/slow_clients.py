"""Connections whose client takes too long to ask for anything: uvicorn itself would keep them for ever."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST_SECONDS = 30.0
"""Time that a client has to begin a request, and then to send its body."""


class TimedProtocol(H11Protocol):
    """Closes a connection without a request that is being answered, or was since the last look."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at the connection now and then."""
        super().connection_made(transport)
        self.loop.call_later(MOST_SECONDS, self._close_if_idle, self.cycle)

    def _close_if_idle(self, before: RequestResponseCycle | None) -> None:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering and self.cycle is before:
            self.transport.close()
        if not self.transport.is_closing():
            self.loop.call_later(MOST_SECONDS, self._close_if_idle, self.cycle)
