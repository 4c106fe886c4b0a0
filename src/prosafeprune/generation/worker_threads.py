"""Processing many items concurrently in threads; results are yielded as they complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    items: Sequence[Item], work: Callable[[Item], Result], concurrency: int
) -> Iterator[tuple[int, Result]]:
    """Yield each item's index and result as it is done, with at most ``concurrency`` items in progress.

    When an item fails, no other is started; those in progress are completed and yielded, then the error is raised.
    ``ThreadPool`` rather than ``ThreadPoolExecutor``: its threads are daemons, so that an interrupted program ends at
    once instead of waiting for requests in progress.
    """
    failures: list[Exception] = []

    def run(index: int) -> tuple[int, Result] | None:
        if failures:
            return None
        try:
            return index, work(items[index])
        except Exception as error:  # noqa: BLE001 - raised below, in the calling thread
            failures.append(error)
            return None

    if not items:
        return
    with ThreadPool(min(concurrency, len(items))) as pool:
        yield from filter(None, pool.imap_unordered(run, range(len(items))))
    if failures:
        raise failures[0]
