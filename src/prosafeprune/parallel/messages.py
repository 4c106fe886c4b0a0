"""How messages travel between processes: small ones in the store where the processes met, large ones over gloo."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store

MAX_BYTES_IN_STORE = 2**20
"""The store holds a few megabytes per key."""
Transfer = Callable[[torch.Tensor], Any]
"""Sends a tensor of bytes, or fills it with the bytes that another process sends."""


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
