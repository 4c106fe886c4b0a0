"""The inputs of the submodules of some layers, recorded during a forward pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from prosafeprune.activations.expert_inputs import ExpertTokens
from prosafeprune.errors import InputError
from prosafeprune.model.experts import OnExpertInput, watched_experts
from prosafeprune.model.partial_pass import EndReached
from prosafeprune.model.submodule import Submodule

Pool = Callable[[torch.Tensor], torch.Tensor]
"""Reduces a module's input, ``(rows, tokens, d_in)`` in float32, to what is stored of it."""
PoolRouted = Callable[[str, ExpertTokens], None]
"""Called with the name of an expert's input and the input."""


class Recorder:
    """Records the inputs of modules during a forward pass, passing each tensor once to ``pool``.

    Pooling happens during the pass: a layer may change its tensors afterwards, and keeping them would cost memory.
    """

    def __init__(self, submodules: Sequence[Submodule]) -> None:
        self.modules = {submodule.module_name: submodule.module for submodule in submodules if submodule.expert is None}
        self.experts = {
            submodule.module_name: submodule.module for submodule in submodules if submodule.expert is not None
        }
        self.reads: dict[str, str] = {}
        """For each module the first module that reads the same tensor."""
        self._pool: Pool = torch.clone
        self._pooled: dict[str, torch.Tensor] = {}
        self._pool_routed: PoolRouted = lambda name, tokens: None
        self._shape = (0, 0)
        """Rows and tokens of the current pass."""
        self._latest: tuple[str, torch.Tensor] | None = None

    @contextmanager
    def recording(self, last_layer: torch.nn.Module) -> Iterator[None]:
        """Record the passes run inside the context, each of which ends after ``last_layer``."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                stack.callback(module.register_forward_pre_hook(self._hook(name)).remove)
            for name, module in self.experts.items():
                stack.enter_context(watched_experts(module, self._on_expert_input(name)))
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

    def _on_expert_input(self, name: str) -> OnExpertInput:
        def record(expert: int, parameter: str, indices: torch.Tensor, inputs: torch.Tensor) -> None:
            self.reads[name] = name
            self._pool_routed(f"{name}.{expert}.{parameter}", ExpertTokens(indices, inputs.float()))

        return record

    def require_all_read(self) -> None:
        """Raise InputError when no pass so far has run some module."""
        unread = [name for name in (*self.modules, *self.experts) if name not in self.reads]
        if unread:
            raise InputError(f"{unread[0]} is not run by the model's forward pass: this architecture is not supported.")

    def _by_token(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """Return a module's input as ``(rows, tokens, d_in)``; some architectures flatten rows and tokens."""
        rows, tokens = self._shape
        if hidden.dim() == 4 and hidden.shape[:2] == (rows, 1):
            # Latent attention caches what this module reads, so it reads a cached prefix again, before the tokens.
            hidden = hidden[:, 0, -tokens:]
        if hidden.numel() != rows * tokens * hidden.shape[-1]:
            raise InputError(
                f"{name} reads a tensor of shape {tuple(hidden.shape)}, which is not one row per token: not supported."
            )
        return hidden.reshape(rows, tokens, hidden.shape[-1])

    @staticmethod
    def _stop(module: torch.nn.Module, arguments: Any, output: Any) -> None:
        raise EndReached

    def run(
        self, shape: tuple[int, int], forward: Callable[[], object], pool: Pool, pool_expert_tokens: PoolRouted
    ) -> dict[str, torch.Tensor]:
        """Run a forward pass over ``shape`` (rows, tokens); return by module name the pooled inputs.

        The inputs of experts go to ``pool_expert_tokens``.
        """
        self._pool, self._pool_routed, self._pooled, self._latest = pool, pool_expert_tokens, {}, None
        self._shape = shape
        try:
            with suppress(EndReached):
                forward()
        finally:
            self._latest = None
        return self._pooled
