"""Which matrices are found, and that fused ones are taken apart as the architecture itself does."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import transformers
from conftest import CONFIGS, LLAMA, SMALL, make_model

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import find_anatomy, submodule_shape
from prosafeprune.model.fused import falcon_qkv, interleaved_qkv

SEVEN = {"q", "k", "v", "o", "gate", "up", "down"}
KINDS = {
    "gpt2": {"q", "k", "v", "o", "up", "down"},
    "gpt_neox": {"q", "k", "v", "o", "up", "down"},
    "falcon": {"q", "k", "v", "o", "up", "down"},
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_kind_is_found_once_in_every_layer(architecture: str) -> None:
    anatomy = find_anatomy(make_model(architecture))
    assert anatomy.num_layers == 3
    for layer in range(3):
        counts = Counter(submodule.kind for submodule in anatomy.of_layer(layer))
        assert counts == Counter(KINDS.get(architecture, SEVEN))
    names = [submodule.name for submodule in anatomy.submodules]
    assert len(set(names)) == len(names)
    assert not any("embed" in name or "lm_head" in name for name in names)


def test_key_and_value_heads_keep_their_own_width() -> None:
    anatomy = find_anatomy(make_model("phi3"))
    shapes = {submodule.kind: submodule_shape(submodule) for submodule in anatomy.of_layer(0)}
    assert shapes["q"] == (48, 48)
    assert shapes["k"] == shapes["v"] == (24, 48)
    assert shapes["gate"] == shapes["up"] == (80, 48)


def test_phi3_slices_equal_the_unfused_llama_twin() -> None:
    fused, twin = (
        make_model("phi3"),
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, rms_norm_eps=1e-5)).eval(),
    )
    parts = {(s.layer, s.kind): s.take(s.module.weight) for s in find_anatomy(fused).submodules}
    state = {name: tensor for name, tensor in fused.state_dict().items() if "qkv" not in name and "gate_up" not in name}
    homes = {
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
    }
    homes |= {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    for (layer, kind), weight in parts.items():
        state[f"model.layers.{layer}.{homes[kind]}.weight"] = weight
    twin.load_state_dict(state)
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(twin(ids).logits, fused(ids).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "falcon"])
def test_fused_outputs_split_as_the_model_splits_them(architecture: str) -> None:
    """Zeroing our value rows must zero what attention passes on; zeroing q or k must not."""
    for kind in "qkv":
        model = make_model(architecture)
        anatomy = find_anatomy(model)
        output = next(s for s in anatomy.of_layer(0) if s.kind == "o")
        seen: list[torch.Tensor] = []
        output.module.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        submodule = next(s for s in anatomy.of_layer(0) if s.kind == kind)
        with torch.no_grad():
            submodule.put(submodule.module.weight, torch.zeros(submodule_shape(submodule)))
            if submodule.module.bias is not None:
                submodule.module.bias[submodule.rows] = 0
            model(torch.arange(5, 25)[None])
        assert (float(seen[0].abs().max()) < 1e-6) == (kind == "v")


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "falcon"])
def test_query_and_key_rows_are_told_apart(architecture: str) -> None:
    """Scaling q by 2 and k by 1/2 leaves attention as it was; it would not if rows of the two were mixed."""
    model, ids = make_model(architecture), torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(ids).logits
        for submodule in find_anatomy(model).submodules:
            factor = {"q": 2.0, "k": 0.5}.get(submodule.kind)
            if factor:
                submodule.put(submodule.module.weight, submodule.take(submodule.module.weight) * factor)
                if submodule.module.bias is not None:
                    submodule.module.bias[submodule.rows] *= factor
        torch.testing.assert_close(model(ids).logits, before, atol=1e-4, rtol=1e-4)


def test_falcon_layouts_cover_every_row_once() -> None:
    for options in (
        {"multi_query": True},
        {"multi_query": False},
        {"new_decoder_architecture": True, "num_kv_heads": 2},
    ):
        config = transformers.FalconConfig(hidden_size=48, num_attention_heads=4, **options)
        rows = torch.cat(list(falcon_qkv(config).values()))
        assert sorted(rows.tolist()) == list(range(len(rows)))


def test_interleaved_rows_by_hand() -> None:
    config = transformers.GPTNeoXConfig(hidden_size=4, num_attention_heads=2)
    rows = {name: part.tolist() for name, part in interleaved_qkv(config).items()}
    assert rows == {"q": [0, 1, 6, 7], "k": [2, 3, 8, 9], "v": [4, 5, 10, 11]}


def test_take_and_put_are_inverse_on_a_transposed_slice() -> None:
    model = make_model("gpt2")
    submodule = next(s for s in find_anatomy(model).of_layer(1) if s.kind == "k")
    stored = submodule.module.weight.detach().clone()
    submodule.put(stored, submodule.take(stored))
    assert torch.equal(stored, submodule.module.weight)
    submodule.put(stored, torch.zeros(48, 48))
    changed = (stored != submodule.module.weight).any(dim=0)
    assert changed.nonzero().squeeze(1).tolist() == list(range(48, 96))


def test_routers_are_left_alone_and_fused_experts_are_named() -> None:
    config = transformers.MixtralConfig(**LLAMA, num_local_experts=4, num_experts_per_tok=2)
    anatomy = find_anatomy(transformers.MixtralForCausalLM(config))
    assert {submodule.kind for submodule in anatomy.submodules} == {"q", "k", "v", "o"}
    assert any("experts" in name for name in anatomy.skipped)


def test_an_architecture_without_one_list_of_layers_is_refused() -> None:
    config = transformers.T5Config(d_model=16, num_layers=2, num_decoder_layers=2, **SMALL)
    with pytest.raises(InputError, match="not supported"):
        find_anatomy(transformers.T5ForConditionalGeneration(config))
