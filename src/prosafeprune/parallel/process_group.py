"""The process group that torchrun started for one job: one leader, and its followers.

The leader alone reads the command line, prints, judges and writes. Followers wait for work, do their share of it and
send back the results. An error in any process is the leader's error, and all processes leave.

Why not torch's object collectives or ``accelerate.gather_object``: a collective blocks until every process calls it.
Here the leader takes results as they arrive while it does its own share, a follower abandons work when newer work
waits, and an error must reach the leader in place of a result; messages with keys in the store do all three. Only large
messages and weights go through torch's ``send``, ``recv`` and ``broadcast``.
"""

import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.parallel.launch import local_rank

MAX_BYTES_IN_STORE = 2**20
"""Maximum bytes of a value in the store, which holds a few megabytes per key."""
Transfer = Callable[[torch.Tensor], Any]
"""Sends a tensor of bytes, or fills it with the bytes that another process sends."""
Work = Callable[[dict[str, Any]], Iterator[Any]]
"""What a follower does with its state, which work may change; it yields results. It is pickled."""
TIMEOUT = timedelta(days=30)
"""Time limit of collective operations: followers wait while the leader judges or searches."""
POLL_SECONDS = 0.01
"""Seconds between two checks for results."""
FAREWELL_SECONDS = 10.0
"""Shutdown timeout, in seconds: how long the leader waits for followers to receive the stop message."""


class Mailbox:
    """Messages by key. Large ones need torch's process group."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, key: str, value: Any, send: Transfer) -> None:
        """Store a message; a large one is sent at once, to whoever takes it. Tensors should be sent as numpy arrays."""
        content = pickle.dumps(value, protocol=5)
        inline = len(content) <= MAX_BYTES_IN_STORE
        self.store.set(key, pickle.dumps(content if inline else len(content)))  # type: ignore[arg-type]  # takes bytes
        if not inline:
            send(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def take(self, key: str, receive: Transfer) -> Any:
        """Return a message that has been put."""
        stored: bytes | int = pickle.loads(self.store.get(key))
        if isinstance(stored, bytes):
            return pickle.loads(stored)
        content = torch.empty(stored, dtype=torch.uint8)
        receive(content)
        return pickle.loads(content.numpy().data)

    def has(self, key: str) -> bool:
        """Return whether a message has been put."""
        return bool(self.store.check([key]))


def broadcast(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite tensors with those of the first process: by NCCL on GPUs, by gloo elsewhere. All processes call it."""
    for tensor in tensors:
        distributed.broadcast(tensor, src=0)


class _Leave:
    """There will be no more work."""


class _Done:
    """All of the work is done."""


@dataclass(frozen=True)
class _Failed:
    reason: str


class Leader:
    """The first process, which gives work to the others."""

    def __init__(self, mailbox: Mailbox, size: int) -> None:
        self.size = size
        """Number of processes, including the leader."""
        self._mailbox = mailbox
        self._given = 0
        self._awaited: dict[int, int] = {}
        """For each follower still doing the latest work, how many results it has sent."""

    def give(self, work: Work) -> None:
        """Send work to all followers; unfinished work is abandoned."""
        self._send(work)

    def arrived(self) -> Iterator[tuple[int, Any]]:
        """Yield the results that have arrived, each with the rank of its process.

        Raises:
            InputError: a follower failed.
        """
        for rank in list(self._awaited):
            while rank in self._awaited:
                key = _result_key(self._given, rank, self._awaited[rank])
                if not self._mailbox.has(key):
                    break
                result = self._mailbox.take(key, partial(distributed.recv, src=rank))
                self._awaited[rank] += 1
                if isinstance(result, _Failed):
                    raise InputError(f"{result.reason} (Reported by process {rank} of 0 to {self.size - 1}.)")
                if isinstance(result, _Done):
                    del self._awaited[rank]
                else:
                    yield rank, result

    def remaining(self) -> Iterator[tuple[int, Any]]:
        """Yield results until all followers have finished the latest work. Raises as :meth:`arrived` does."""
        while self._awaited:
            yield from self.arrived()
            time.sleep(POLL_SECONDS)

    def dismiss(self) -> None:
        """Let the followers exit; only the leader's exit code counts."""
        with suppress(RuntimeError, ProSafePruneError):  # they may be gone already
            work, unfinished = self._given, self._awaited
            self._send(_Leave())
            until = time.monotonic() + FAREWELL_SECONDS
            while self._awaited and time.monotonic() < until:
                self._discard(work, unfinished)
                for _ in self.arrived():
                    pass
                time.sleep(POLL_SECONDS)

    def _discard(self, work: int, unfinished: dict[int, int]) -> None:
        """Take the further results of abandoned work: a follower that sends a large one waits until it is taken."""
        for rank in unfinished:
            while self._mailbox.has(key := _result_key(work, rank, unfinished[rank])):
                self._mailbox.take(key, partial(distributed.recv, src=rank))
                unfinished[rank] += 1

    def _send(self, message: Work | _Leave) -> None:
        self._given += 1
        self._awaited = dict.fromkeys(range(1, self.size), 0)
        self._mailbox.put(_work_key(self._given), message, lambda content: broadcast([content]))


class Follower:
    """Any other process."""

    def __init__(self, mailbox: Mailbox, rank: int) -> None:
        self._mailbox, self._rank = mailbox, rank
        self._taken = 0
        self._state: dict[str, Any] = {}

    def work(self) -> None:
        """Run work items until the leader sends the stop message."""
        while True:
            self._taken += 1
            key = _work_key(self._taken)
            self._mailbox.store.wait([key], TIMEOUT)
            work = self._mailbox.take(key, lambda content: broadcast([content]))
            if isinstance(work, _Leave):
                self._send(0, _Done())
                return
            self._do(work)

    def _do(self, work: Work) -> None:
        sent = 0
        try:
            for result in work(self._state):
                self._send(sent, result)
                sent += 1
                if self._mailbox.has(_work_key(self._taken + 1)):
                    return  # the leader has moved on
        except ProSafePruneError as error:
            self._send(sent, _Failed(str(error)))
        else:
            self._send(sent, _Done())

    def _send(self, number: int, result: Any) -> None:
        key = _result_key(self._taken, self._rank, number)
        self._mailbox.put(key, result, partial(distributed.send, dst=0))


_leader: Leader | None = None


def current_leader() -> Leader | None:
    """Return the leader if this process is one."""
    return _leader


@contextmanager
def joined_process_group() -> Iterator[None]:
    """Lead the other processes inside the context. A follower never enters it: it works, then exits.

    Raises:
        SystemExit: at the end of a follower.
    """
    global _leader
    store, rank, size = next(iter(rendezvous("env://", timeout=TIMEOUT)))
    own = local_rank()
    has_gpu = own is not None and own < torch.cuda.device_count()
    if has_gpu:
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    group_store = PrefixStore("group", store)
    distributed.init_process_group(backend, store=group_store, rank=rank, world_size=size, timeout=TIMEOUT)
    mailbox = Mailbox(PrefixStore("mailbox", store))
    if rank > 0:
        # When the leader is gone, it has already reported why.
        with suppress(distributed.DistError):
            Follower(mailbox, rank).work()
        sys.exit()
    _leader = Leader(mailbox, size)
    try:
        yield
    finally:
        _leader.dismiss()
        _leader = None
        distributed.destroy_process_group()


def _work_key(number: int) -> str:
    return f"work/{number}"


def _result_key(work: int, rank: int, number: int) -> str:
    return f"result/{work}/{rank}/{number}"
