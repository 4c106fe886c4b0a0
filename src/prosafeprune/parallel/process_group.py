"""The processes that torchrun started for one job: the first leads, the others follow.

The leader alone reads the command line, prints, judges and writes. Followers wait for work, do their share of it and
send back what comes of it. An error in one of them is the leader's error, and all leave together.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import distributed

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.parallel.launch import local_rank
from prosafeprune.parallel.messages import Post, broadcast

Work = Callable[[dict[str, Any]], Iterator[Any]]
"""Done by a follower with what it has at hand, which work may change; what it yields is sent back. It is pickled."""
PATIENCE = timedelta(days=30)
"""Followers wait for as long as the leader judges, or searches."""
PAUSE = 0.01
"""Seconds between two looks at whether something has come back."""
FAREWELL = 10.0
"""Seconds the leader stays for the followers to hear that all is done."""


class _Leave:
    """There will be no more work."""


class _Done:
    """All of the work is done."""


@dataclass(frozen=True)
class _Failed:
    reason: str


class Leader:
    """The first process, with what it needs to give work to the others."""

    def __init__(self, post: Post, size: int) -> None:
        self.size = size
        """How many processes there are, the leader among them."""
        self._post = post
        self._given = 0
        self._awaited: dict[int, int] = {}
        """Of each follower that is still at the latest work, how many replies it has sent."""

    def give(self, work: Work) -> None:
        """Give all followers work. What they still had to do of earlier work, they leave."""
        self._send(work)

    def arrived(self) -> Iterator[tuple[int, Any]]:
        """Yield what has come back by now, with the number of the process that it comes from.

        Raises:
            InputError: a follower failed.
        """
        for rank in list(self._awaited):
            while rank in self._awaited:
                key = _reply_key(self._given, rank, self._awaited[rank])
                if not self._post.has(key):
                    break
                reply = self._post.take(key, partial(distributed.recv, src=rank))
                self._awaited[rank] += 1
                if isinstance(reply, _Failed):
                    raise InputError(f"{reply.reason} (Said by process {rank} of 0 to {self.size - 1}.)")
                if isinstance(reply, _Done):
                    del self._awaited[rank]
                else:
                    yield rank, reply

    def remaining(self) -> Iterator[tuple[int, Any]]:
        """Yield what comes back until all followers are done with the latest work. Raises as :meth:`arrived` does."""
        while self._awaited:
            yield from self.arrived()
            time.sleep(PAUSE)

    def dismiss(self) -> None:
        """Let the followers leave; the exit code that counts is the leader's."""
        with suppress(RuntimeError, ProSafePruneError):  # they may be gone already
            self._send(_Leave())
            until = time.monotonic() + FAREWELL
            while self._awaited and time.monotonic() < until:
                for _ in self.arrived():
                    pass
                time.sleep(PAUSE)

    def _send(self, message: Work | _Leave) -> None:
        self._given += 1
        self._awaited = dict.fromkeys(range(1, self.size), 0)
        self._post.put(_work_key(self._given), message, lambda buffer: broadcast([buffer]))


class Follower:
    """Any other process."""

    def __init__(self, post: Post, rank: int) -> None:
        self._post, self._rank = post, rank
        self._taken = 0
        self._at_hand: dict[str, Any] = {}

    def work(self) -> None:
        """Do what the leader gives, until it lets this process leave."""
        while True:
            self._taken += 1
            key = _work_key(self._taken)
            self._post.store.wait([key], PATIENCE)
            work = self._post.take(key, lambda buffer: broadcast([buffer]))
            if isinstance(work, _Leave):
                self._reply(0, _Done())
                return
            self._do(work)

    def _do(self, work: Work) -> None:
        place = 0
        try:
            for reply in work(self._at_hand):
                self._reply(place, reply)
                place += 1
                if self._post.has(_work_key(self._taken + 1)):
                    return  # the leader wants something else by now
        except ProSafePruneError as error:
            self._reply(place, _Failed(str(error)))
        else:
            self._reply(place, _Done())

    def _reply(self, place: int, reply: Any) -> None:
        self._post.put(_reply_key(self._taken, self._rank, place), reply, partial(distributed.send, dst=0))


_leader: Leader | None = None


def current_leader() -> Leader | None:
    """Return the leader, when this process is one."""
    return _leader


@contextmanager
def joined_process_group() -> Iterator[None]:
    """Lead the other processes for as long as the context; a process that is to follow never enters it, and exits.

    Raises:
        SystemExit: at the end of a follower.
    """
    global _leader
    store, rank, size = next(iter(distributed.rendezvous("env://", timeout=PATIENCE)))
    own = local_rank()
    has_gpu = own is not None and own < torch.cuda.device_count()
    if has_gpu:
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    group_store = distributed.PrefixStore("group", store)
    distributed.init_process_group(backend, store=group_store, rank=rank, world_size=size, timeout=PATIENCE)
    post = Post(distributed.PrefixStore("post", store))
    if rank > 0:
        # Where the leader is gone without a word, whoever ended it has told why.
        with suppress(distributed.DistError):
            Follower(post, rank).work()
        sys.exit()
    _leader = Leader(post, size)
    try:
        yield
    finally:
        _leader.dismiss()
        _leader = None
        distributed.destroy_process_group()


def _work_key(number: int) -> str:
    return f"work/{number}"


def _reply_key(number: int, rank: int, place: int) -> str:
    return f"reply/{number}/{rank}/{place}"
