"""Work on many items at a time, in threads, given back as it is done."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    items: Sequence[Item], work: Callable[[Item], Result], concurrency: int
) -> Iterator[tuple[int, Result]]:
    """Yield each item's place and result as it is done, with at most ``concurrency`` items under way.

    When an item fails, no other is begun; those under way are waited for and yielded, then the error is raised. The
    threads do not keep the program alive, so an interruption ends it at once.
    """
    places = iter(range(len(items)))
    lock = threading.Lock()
    stopped = threading.Event()
    done: queue.Queue[tuple[int, Result] | BaseException | None] = queue.Queue()

    def run() -> None:
        while not stopped.is_set():
            with lock:
                place = next(places, None)
            if place is None:
                break
            try:
                done.put((place, work(items[place])))
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
                stopped.set()
                done.put(error)
        done.put(None)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(concurrency, len(items)))]
    for thread in threads:
        thread.start()
    failure: BaseException | None = None
    try:
        going_on = len(threads)
        while going_on:
            found = done.get()
            if found is None:
                going_on -= 1
            elif isinstance(found, BaseException):
                failure = failure or found
            else:
                yield found
    finally:
        stopped.set()
    if failure is not None:
        raise failure
