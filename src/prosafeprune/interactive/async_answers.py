"""Answers of the engine's thread, awaited in a server; one that nobody waits for any more is cancelled."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from prosafeprune.serving.engine import Engine
from prosafeprune.serving.running_answer import Piece, Question

Result = TypeVar("Result")


class AsyncAnswer:
    """The pieces of one answer. Iterate once."""

    def __init__(self, engine: Engine, question: Question) -> None:
        """Start the answer. Raises InputError and EngineBusyError as :meth:`Engine.start` does."""
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hand_over(piece: Piece) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

        self._answer = engine.start(question, hand_over)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Yield the pieces. Raises what the engine hands over as an error."""
        try:
            while True:
                piece = await self._pieces.get()
                if piece.error is not None:
                    raise piece.error
                yield piece
                if piece.is_last:
                    return
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop generating."""
        self._answer.cancel()


class EventStream(StreamingResponse):
    """A response of server-sent events; ``at_end`` is called when it ends, also when the client hangs up."""

    def __init__(self, events: AsyncGenerator[str, None], at_end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._at_end = at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._at_end()


async def in_daemon(work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns in a thread that does not keep the program alive.

    The server waits for those of ``asyncio.to_thread`` when it stops: a judge behind a slow server, which is asked
    again for minutes, would hold up Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if found.cancelled():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(cast(Result, result))

    def run() -> None:
        result, raised = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            raised = error
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(settle, result, raised)

    threading.Thread(target=run, daemon=True).start()
    return await found


async def cancelled_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of the work, which is cancelled when the client hangs up. The request's body must be read.

    Raises:
        ClientDisconnect: it hung up.
    """
    task, hung_up = asyncio.create_task(work), asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        hung_up.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
