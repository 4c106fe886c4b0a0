"""What a model's forward pass is given."""

from typing import Any

import pytest
import torch
from torch import nn

from prosafeprune.model.batches import cache_option, pad_batch, run_batch


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
