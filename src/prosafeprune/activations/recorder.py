"""What the submodules of some layers read in a forward pass, seen while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from prosafeprune.activations.expert_inputs import ExpertTokens
from prosafeprune.errors import InputError
from prosafeprune.model.batches import PaddedBatch
from prosafeprune.model.experts import Tell, telling
from prosafeprune.model.submodule import Submodule

Pool = Callable[[torch.Tensor], torch.Tensor]
"""Makes of what a module reads, ``(rows, tokens, d_in)`` in float32, what is kept of it."""
PoolRouted = Callable[[str, ExpertTokens], None]
"""Told, by the name of what is read, what an expert reads."""


class _LastLayerReached(Exception):
    """Ends a forward pass from inside: nothing above the last layer asked for is computed."""


class Recorder:
    """Sees what modules read in a forward pass, and hands each tensor, once, to ``pool``.

    Pooling happens while the pass runs: a layer may change its tensors afterwards, and keeping them would cost memory.
    """

    def __init__(self, submodules: Sequence[Submodule]) -> None:
        self.modules = {one.module_name: one.module for one in submodules if one.expert is None}
        self.experts = {one.module_name: one.module for one in submodules if one.expert is not None}
        self.reads: dict[str, str] = {}
        """For each module the first module that reads the same tensor."""
        self._pool: Pool = torch.clone
        self._pooled: dict[str, torch.Tensor] = {}
        self._pool_routed: PoolRouted = lambda name, tokens: None
        self._shape = (0, 0)
        """Rows and tokens of the pass that runs."""
        self._latest: tuple[str, torch.Tensor] | None = None

    @contextmanager
    def listening(self, last_layer: torch.nn.Module) -> Iterator[None]:
        """Listen to passes, each of which ends behind ``last_layer``, for as long as the context."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                stack.callback(module.register_forward_pre_hook(self._hook(name)).remove)
            for name, module in self.experts.items():
                stack.enter_context(telling(module, self._tell(name)))
            stack.callback(last_layer.register_forward_hook(self._stop).remove)
            yield

    def _hook(self, name: str) -> Any:
        def record(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            hidden = arguments[0]
            if self._latest is not None and self._latest[1] is hidden:
                self.reads[name] = self._latest[0]
            else:
                self.reads[name] = name
                self._pooled[name] = self._pool(self._by_token(name, hidden).float())
                self._latest = (name, hidden)

        return record

    def _tell(self, name: str) -> Tell:
        def tell(expert: int, parameter: str, places: torch.Tensor, read: torch.Tensor) -> None:
            self.reads[name] = name
            self._pool_routed(f"{name}.{expert}.{parameter}", ExpertTokens(places, read.float()))

        return tell

    def require_all_read(self) -> None:
        """Raise InputError when a module was not run by any pass so far."""
        unread = [name for name in (*self.modules, *self.experts) if name not in self.reads]
        if unread:
            raise InputError(f"{unread[0]} is not run by the model's forward pass: this architecture is not supported.")

    def _by_token(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """Return what a module reads as ``(rows, tokens, d_in)``; some architectures flatten rows and tokens."""
        rows, tokens = self._shape
        if hidden.numel() != rows * tokens * hidden.shape[-1]:
            raise InputError(
                f"{name} reads a tensor of shape {tuple(hidden.shape)}, which is not one row a token: not supported."
            )
        return hidden.reshape(rows, tokens, hidden.shape[-1])

    @staticmethod
    def _stop(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        raise _LastLayerReached

    def run(
        self,
        batch: PaddedBatch,
        forward: Callable[[], None],
        pool: Pool,
        pool_expert_tokens: PoolRouted,
    ) -> dict[str, torch.Tensor]:
        """Run a forward pass over ``batch``; return by module name what ``pool`` makes of each input.

        What experts read goes to ``pool_expert_tokens``.
        """
        self._pool, self._pool_routed, self._pooled, self._latest = pool, pool_expert_tokens, {}, None
        self._shape = (batch.ids.shape[0], batch.ids.shape[1])
        try:
            forward()
        except _LastLayerReached:
            pass
        finally:
            self._latest = None
        return self._pooled
