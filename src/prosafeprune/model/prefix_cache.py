"""The tokens that all prompts begin with, run once: most chat templates put the same words before every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from prosafeprune.model.batches import accepted, attention_window, expand_cache, shared_prefix_length


class PrefixCache:
    """The keys and values of the tokens that all prompts share, for batches to go on from."""

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def __init__(
        self, model: Any, prompts: Sequence[tuple[int, ...]], further_tokens: int, at_most: int | None = None
    ) -> None:
        """Run the head of ``prompts``, which may each be followed by as many as ``further_tokens``.

        Of a longer head only the first ``at_most`` tokens are taken.
        """
        self.model = model
        window = attention_window(model)
        reach = max(map(len, prompts), default=0) + further_tokens
        # Padding between head and tail takes up places that windowed attention counts; without a head it lies outside.
        fits = window is None or reach <= window
        shared = shared_prefix_length(model, prompts) if fits else 0
        self.length: int = shared if at_most is None else min(shared, at_most)
        self._cache = self._run(prompts[0][: self.length]) if self.length else None

    def cache(self, rows: int) -> Any:
        """Return a fresh cache for a batch of ``rows`` prompts, holding the head."""
        return DynamicCache(config=self.model.config) if self._cache is None else expand_cache(self._cache, rows)

    def _run(self, head: Sequence[int]) -> Any:
        cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([list(head)], device=next(self.model.parameters()).device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, **accepted(self.model, logits_to_keep=1))
        return cache
