"""The size of a model, from tensor headers: by hand for a small one."""

from __future__ import annotations

import pytest
from helpers.estimates import CONFIG, TENSORS

from prosafeprune.setup.model_size import FLOAT32, ModelShape


def test_a_shape_is_read_from_headers() -> None:
    shape = ModelShape.of_tensors(TENSORS, CONFIG)
    assert shape.size.weight_bytes == 2112
    assert shape.parameters == shape.active == 1056
    assert (shape.largest_layer, shape.largest_matrix, shape.side_lengths) == (384, 128, 40)
    assert shape.inputs(2, 10) == FLOAT32 * 10 * 2 * (3 * 8 + 16)


@pytest.mark.parametrize(("tied", "read", "generated"), [(True, 200, 1000), (False, 250, 1050)])
def test_embeddings_are_looked_up_and_logits_are_of_generated_tokens(tied: bool, read: int, generated: int) -> None:
    config = {**CONFIG, "vocab_size": 100, "tie_word_embeddings": tied}
    table = {"model.embed_tokens.weight": ((100, 8), 1600)}
    layers = {"model.layers.0.mlp.up_proj.weight": ((25, 8) if tied else (250, 1), 400)}
    shape = ModelShape.of_tensors(table | layers | ({} if tied else {"lm_head.weight": ((100, 8), 1600)}), config)
    assert shape.passed == (read, generated)


def test_a_vocabulary_that_the_weights_do_not_have_is_not_subtracted() -> None:
    assert ModelShape.of_tensors(TENSORS, {**CONFIG, "vocab_size": 1000}).passed == (1056, 1056)


def test_a_token_passes_through_its_own_experts_only() -> None:
    config = {**CONFIG, "num_experts": 4, "num_experts_per_tok": 1, "moe_intermediate_size": 6}
    fused = {
        "model.layers.0.mlp.experts.gate_up_proj": ((4, 12, 8), 768),
        "model.layers.0.mlp.gate.weight": ((4, 8), 64),
    }
    single = {f"model.layers.0.mlp.experts.{i}.up_proj.weight": ((12, 8), 192) for i in range(4)}
    for tensors in (fused, {**single, "model.layers.0.mlp.gate.weight": ((4, 8), 64)}):
        shape = ModelShape.of_tensors(tensors, config)
        assert (shape.parameters, shape.active) == (416, 96 + 32)
        assert shape.largest_matrix == 96
        assert shape.side_lengths == 4 * 20 + 12
        assert shape.experts_reached == 4
        assert shape.linear == 32  # experts keep their 16 bits
        assert shape.bytes_per_weight(1.0, "8bit") == pytest.approx(1 - 32 / 832)
