"""What a model's forward pass is given."""

from typing import Any

import pytest
import torch
from helpers.architectures import ARCHITECTURES
from helpers.tiny_models import make_model
from torch import nn

from prosafeprune.model.batches import cache_bytes_per_token, cache_option, pad_batch, run_batch


class _Older(nn.Module):
    def forward(self, input_ids: Any, attention_mask: Any, past_key_values: Any = None, use_cache: bool = False) -> Any:
        return past_key_values


class _Newer(nn.Module):
    def forward(self, input_ids: Any, attention_mask: Any, cache: Any = None, use_cache: bool = False) -> Any:
        return cache


class _Remote(nn.Module):
    def forward(self, input_ids: Any, **options: Any) -> Any:
        return options["past_key_values"]


@pytest.mark.parametrize("model", [_Older(), _Newer(), _Remote()], ids=["past_key_values", "cache", "neither"])
def test_a_kv_cache_goes_by_the_name_that_the_forward_pass_has(model: Any) -> None:
    cache = object()

    batch = pad_batch([[1, 2], [3]], 0, "left", torch.device("cpu"))

    assert run_batch(model, batch, batch.mask, cache) is cache
    assert list(cache_option(model, cache).values()) == [cache]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_token_takes_more_of_the_kv_cache_than_its_upper_bound(architecture: str) -> None:
    model, tokens = make_model(architecture), 12
    with torch.no_grad():
        cache = model(torch.arange(5, 5 + tokens)[None], use_cache=True).past_key_values
    kept = [part for layer in cache.layers for part in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    taken = sum(part.nbytes for part in kept if part is not None)
    assert 0 < taken <= tokens * cache_bytes_per_token(model)
    if architecture in ("llama", "gpt2"):
        assert taken == tokens * cache_bytes_per_token(model)
