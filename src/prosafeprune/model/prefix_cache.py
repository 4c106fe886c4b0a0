"""The token prefix shared by all prompts, run once: most chat templates put the same tokens before every prompt.

Under causal attention the keys and values of such a prefix are the same for every prompt. All code that
runs batches (generation, pooled activations, resumed passes, divergence) gets the prefix length, its KV cache, and a
copy of that cache with one row per prompt, from this module.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from prosafeprune.errors import InputError
from prosafeprune.model.batches import Padding, accepted, cache_option, last_tokens, pad_batch, run_batch
from prosafeprune.model.partial_pass import EndReached

CACHEABLE_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}


def shared_prefix_length(
    model: PreTrainedModel, texts: Sequence[tuple[int, ...]], padding: Padding, further_tokens: int = 0
) -> int:
    """Return how many leading tokens all texts share, leaving at least one token to each.

    It is 0 where a cached prefix would change results: in models that keep state other than keys and values, or take
    no position ids; and, with padding on the left, where a text is longer than the attention window, since the padding
    between prefix and suffix takes up positions of the window.

    Args:
        texts: token ids of each text.
        padding: the side on which batches of the suffixes are padded.
        further_tokens: maximum number of tokens generated after each text.

    Raises:
        InputError: a text is longer than the model's positions, or has a token id beyond its embeddings.
    """
    config = model.config.get_text_config(decoder=True)
    require_known_tokens(config, texts)
    reach = max(map(len, texts), default=0) + further_tokens
    require_positions(config, reach, further_tokens)
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    if len(texts) < 2 or not _can_share(model, config) or (padding == "left" and window is not None and reach > window):
        return 0
    first, last = min(texts), max(texts)  # in lexicographic order: what these two share, all share
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(shared, min(map(len, texts)) - 1)


def require_known_tokens(config: Any, texts: Sequence[Sequence[int]]) -> None:
    """Raise InputError when a text has a token id without an embedding: the tokenizer is another model's."""
    largest = max((max(text, default=0) for text in texts), default=0)
    if largest >= config.vocab_size:
        raise InputError(
            f"The tokenizer gives the token id {largest}, and the model has {config.vocab_size} embeddings. Restore "
            "the model's own tokenizer files."
        )


def require_positions(config: Any, reach: int, further_tokens: int = 0) -> None:
    """Raise InputError when texts of ``reach`` tokens, ``further_tokens`` of them generated, exceed the positions.

    Models with rotary positions would run on and answer nonsense; those with a table of positions would crash. LongRoPE
    (Phi-3's long contexts) changes all angles beyond a length, for every row of a batch as soon as one row is longer:
    answers would depend on what else is in the batch.
    """
    positions, setting = usable_positions(config)
    if positions is not None and reach > positions:
        answer = f" with {further_tokens} tokens of answer" if further_tokens else ""
        remedy = "Shorten the prompt or lower --max-new-tokens." if further_tokens else "Shorten the prompt."
        raise InputError(
            f"The longest prompt takes {reach} tokens{answer}, and the model has {positions} positions ({setting}). "
            f"{remedy}"
        )


def usable_positions(config: Any) -> tuple[int | None, str]:
    """Return how many positions texts may take, or None without a limit, and the setting that says so."""
    positions, setting = getattr(config, "max_position_embeddings", None), "max_position_embeddings"
    if not isinstance(positions, int) or positions <= 0:
        return None, setting
    original = _original_positions(config)
    if original is not None and original < positions:
        return original, "original_max_position_embeddings: beyond them LongRoPE changes all angles"
    return positions, setting


def _original_positions(config: Any) -> int | None:
    """Return the length beyond which a model's LongRoPE takes its other factors; None for other models."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope" or rope.get("short_factor") == rope.get("long_factor"):
        return None
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    return original if isinstance(original, int) else None


def run_prefix(model: PreTrainedModel, prefix: Sequence[int]) -> DynamicCache:
    """Return the keys and values of a prefix, in a cache of one row.

    Inside a context that begins or ends the pass at some layer, the layers that did not run get zeros of the same
    length: transformers makes masks and positions for all layers from the length of one. Layers that read the keys and
    values of another (Gemma 4) have none of their own, nor have those that read an image (Llama 3.2 Vision), which
    would take any for one; given a number of logits to keep rather than a list, they would
    leave out all other tokens.
    """
    cache = DynamicCache(config=model.config)
    device = next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
    try:
        ids = torch.tensor([list(prefix)], device=device)
        options = accepted(model, logits_to_keep=last_tokens(1))
        model(input_ids=ids, use_cache=True, **cache_option(model, cache), **options)
    except EndReached:
        zeros = torch.zeros(1, 1, len(prefix), 1, device=device, dtype=model.dtype)
        config = model.config.get_text_config(decoder=True)
        # Layers that have none of their own are in the cache as another class, or, before transformers 5.18, missing.
        with_own = {number for number, layer in enumerate(cache.layers) if isinstance(layer, CacheLayerMixin)}
        for layer in with_own.difference(getattr(config, "cross_attention_layers", None) or ()):
            if cache.get_seq_length(layer) == 0:
                cache.update(zeros, zeros, layer)
    return cache


def expand_cache(prefix_cache: DynamicCache, rows: int) -> DynamicCache:
    """Return a copy of a cache of one row, with that row ``rows`` times."""
    cache = copy.deepcopy(prefix_cache)
    cache.reorder_cache(torch.LongTensor([0] * rows))
    return cache


class PrefixCache:
    """Keys and values of the tokens that all prompts share, reused by every batch; batches are padded on the left."""

    @torch.inference_mode()
    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[tuple[int, ...]],
        further_tokens: int,
        at_most: int | None = None,
    ) -> None:
        """Run the prefix of ``prompts``, each followed by ``further_tokens`` at most.

        Only the first ``at_most`` tokens of a longer prefix are shared.

        Raises:
            InputError: a prompt with what follows it is longer than the model's positions.
        """
        self.model = model
        shared = shared_prefix_length(model, prompts, "left", further_tokens)
        self.length: int = shared if at_most is None else min(shared, at_most)
        self._cache = run_prefix(model, prompts[0][: self.length]) if self.length else None

    @classmethod
    def holding(cls, model: PreTrainedModel, cache: DynamicCache, length: int) -> PrefixCache:
        """Return the prefix whose ``length`` tokens are in ``cache``, of one row, already."""
        made = cls(model, [], 0)
        made.length, made._cache = length, cache
        return made

    def cache(self, rows: int) -> DynamicCache:
        """Return a fresh cache for a batch of ``rows`` prompts, holding the prefix."""
        return DynamicCache(config=self.model.config) if self._cache is None else expand_cache(self._cache, rows)

    def run(self, suffixes: Sequence[Sequence[int]], logits: int = 1, **options: Any) -> Any:
        """Run prompts without their prefix, padded on the left; return the model's output.

        Args:
            suffixes: the tokens of each prompt after the prefix.
            logits: how many of each row's last positions get logits.
        """
        batch = pad_batch(suffixes, self.length, "left", next(self.model.parameters()).device)
        options |= accepted(self.model, logits_to_keep=last_tokens(logits))
        return run_batch(self.model, batch, batch.full_mask, self.cache(len(suffixes)), **options)


def _can_share(model: PreTrainedModel, config: Any) -> bool:
    kinds = getattr(config, "layer_types", None)
    keeps_other_state = (kinds and not CACHEABLE_LAYERS.issuperset(kinds)) or getattr(model, "_is_stateful", False)
    # Without position ids a model counts padding too, which would shift what follows a prefix.
    return not keeps_other_state and bool(accepted(model, position_ids=None))
