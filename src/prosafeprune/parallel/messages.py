"""How work and replies travel: small ones through the store where the processes met, arrays by gloo.

A store takes a few megabytes a message, so that arrays are taken out of the pickle and sent behind it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

IN_THE_STORE = 2**20
"""Bytes that a message in the store may have."""
Exchange = Callable[[torch.Tensor], Any]
"""Sends a tensor of bytes, or fills it with what is sent."""


@dataclass(frozen=True)
class _Envelope:
    content: bytes | None
    """The pickle; None where it is too large, and comes first of what follows."""
    sizes: tuple[int, ...]
    """Bytes of each buffer that follows."""


class Post:
    """Messages by name, with their arrays behind them. The processes must have formed torch's process group."""

    def __init__(self, store: distributed.Store) -> None:
        self.store = store

    def put(self, key: str, value: Any, send: Exchange) -> None:
        """Leave a message, then send its arrays to whoever takes it; numpy arrays alone travel well."""
        taken_out: list[pickle.PickleBuffer] = []
        content = pickle.dumps(value, protocol=5, buffer_callback=taken_out.append)
        buffers: list[Any] = [one.raw() for one in taken_out]
        if len(content) > IN_THE_STORE:
            envelope = _Envelope(None, (len(content), *map(len, buffers)))
            buffers.insert(0, content)
        else:
            envelope = _Envelope(content, tuple(map(len, buffers)))
        self.store.set(key, pickle.dumps(envelope))
        for buffer in buffers:
            if len(buffer):
                send(torch.frombuffer(bytearray(buffer), dtype=torch.uint8))

    def take(self, key: str, receive: Exchange) -> Any:
        """Return a message that has been left."""
        envelope: _Envelope = pickle.loads(self.store.get(key))
        buffers = [_filled(size, receive) for size in envelope.sizes]
        content: Any = envelope.content if envelope.content is not None else buffers.pop(0)
        return pickle.loads(content, buffers=buffers)

    def has(self, key: str) -> bool:
        """Tell whether a message has been left."""
        return bool(self.store.check([key]))


def _filled(size: int, receive: Exchange) -> memoryview:
    room = torch.empty(size, dtype=torch.uint8)
    if size:
        receive(room)
    return memoryview(room.numpy())


def broadcast(tensors: Sequence[torch.Tensor]) -> None:
    """Make tensors what they are in the first process: by NCCL on GPUs, by gloo elsewhere. All processes call it."""
    for tensor in tensors:
        distributed.broadcast(tensor, src=0)
