"""Work of a server beside its loop: it comes back, and never keeps the server from stopping."""

from __future__ import annotations

import asyncio
import threading

import pytest

from prosafeprune.interactive.async_answers import in_daemon


def test_results_and_errors_come_back() -> None:
    def fail() -> None:
        raise KeyError("gone")

    assert asyncio.run(in_daemon(lambda: 7)) == 7
    with pytest.raises(KeyError, match="gone"):
        asyncio.run(in_daemon(fail))


def test_work_that_hangs_does_not_keep_the_loop_from_ending() -> None:
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        released.wait(20)
        ended.set()

    async def leave_it() -> None:
        task = asyncio.create_task(in_daemon(hang))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(leave_it())
    assert not ended.is_set()
    released.set()
    assert ended.wait(20)  # and what comes too late is nobody's
