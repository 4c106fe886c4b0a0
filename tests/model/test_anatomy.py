"""Which matrices are found, and that fused ones are taken apart as the architecture itself does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import transformers
from helpers.architectures import LATENTS, LLAMA, SMALL
from helpers.tiny_models import CONFIGS, make_model
from torch import nn

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Skipped, find_anatomy
from prosafeprune.model.fused import falcon_qkv, interleaved_qkv, linear_qkvz

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
    shapes = {submodule.kind: submodule.shape for submodule in anatomy.of_layer(0)}
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


FURTHER = {
    "codegen": transformers.CodeGenConfig(
        vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=8, rotary_dim=4, bos_token_id=0, eos_token_id=1
    ),
    "gpt_bigcode": transformers.GPTBigCodeConfig(
        vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4, multi_query=False, bos_token_id=0, eos_token_id=1
    ),
    "starcoder": transformers.GPTBigCodeConfig(
        vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4, multi_query=True, bos_token_id=0, eos_token_id=1
    ),
}
"""Architectures of which only the layout of q, k and v is tested."""


def fused_model(architecture: str) -> transformers.PreTrainedModel:
    if architecture not in FURTHER:
        return make_model(architecture)
    torch.manual_seed(0)
    model: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_config(FURTHER[architecture])
    return model.eval()


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "falcon", *FURTHER])
def test_fused_outputs_split_as_the_model_splits_them(architecture: str) -> None:
    """Zeroing our value rows must zero what attention passes on; zeroing q or k must not."""
    for kind in "qkv":
        model = fused_model(architecture)
        anatomy = find_anatomy(model)
        output = next(s for s in anatomy.of_layer(0) if s.kind == "o")
        seen: list[torch.Tensor] = []
        output.module.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        submodule = next(s for s in anatomy.of_layer(0) if s.kind == kind)
        with torch.no_grad():
            submodule.put(submodule.module.weight, torch.zeros(submodule.shape))
            if submodule.module.bias is not None:
                submodule.module.bias[submodule.rows] = 0
            model(torch.arange(5, 25)[None])
        assert (float(seen[0].abs().max()) < 1e-6) == (kind == "v")


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "falcon", *FURTHER])
def test_query_and_key_rows_are_told_apart(architecture: str) -> None:
    """Scaling q by 2 and k by 1/2 leaves attention as it was; it would not if rows of the two were mixed."""
    model, ids = fused_model(architecture), torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(ids).logits
        for submodule in find_anatomy(model).submodules:
            factor = {"q": 2.0, "k": 0.5}.get(submodule.kind)
            if factor:
                submodule.put(submodule.module.weight, submodule.take(submodule.module.weight) * factor)
                if submodule.module.bias is not None:
                    submodule.module.bias[submodule.rows] *= factor
        torch.testing.assert_close(model(ids).logits, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_the_lightning_attention_of_minimax_is_split_head_by_head(kind: str) -> None:
    """It multiplies q, k and v without a softmax: without any one of them it passes nothing on."""
    config = transformers.MiniMaxConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        layer_types=["linear_attention", "full_attention"],
        block_size=16,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    of_layer = find_anatomy(model).of_layer(0)
    submodule, output = (next(one for one in of_layer if one.kind == wanted) for wanted in (kind, "o"))
    seen: list[torch.Tensor] = []
    output.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        submodule.put(submodule.module.weight, torch.zeros(submodule.shape))
        model(torch.arange(5, 25)[None])
    assert float(seen[0].abs().max()) == 0


@pytest.mark.parametrize("kind", ["granitemoehybrid", "granitemoeshared"])
def test_the_fused_mlp_that_all_tokens_of_granite_share_is_split(kind: str) -> None:
    """Scaling up by 2 and down by 1/2 leaves the MLP as it was; with gate and up exchanged it would not."""
    options: dict[str, Any] = (
        {"layer_types": ["attention"] * 2, "mamba_n_heads": 2} if kind == "granitemoehybrid" else {}
    )
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=99,
        hidden_size=32,
        intermediate_size=24,
        shared_intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        **options,
    )
    torch.manual_seed(0)
    model, ids = transformers.AutoModelForCausalLM.from_config(config).eval(), torch.arange(5, 25)[None]
    shared = [one for one in find_anatomy(model).of_layer(1) if one.expert is None and "mlp" in one.name]
    assert [(one.kind, one.shape) for one in shared] == [("gate", (40, 32)), ("up", (40, 32)), ("down", (32, 40))]
    with torch.no_grad():
        before = model(ids).logits
        for one in shared:
            one.put(one.module.weight, one.take(one.module.weight) * {"gate": 1, "up": 2, "down": 0.5}[one.kind])
        torch.testing.assert_close(model(ids).logits, before, atol=1e-5, rtol=1e-5)


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


def test_every_expert_is_found_and_routers_and_gates_are_named() -> None:
    anatomy = find_anatomy(make_model("qwen2_moe"))
    experts = [submodule for submodule in anatomy.of_layer(1) if submodule.expert is not None]
    assert [(one.expert, one.kind) for one in experts] == [
        (e, kind) for e in range(4) for kind in ("gate", "up", "down")
    ]
    assert {one.kind: one.shape for one in experts} == {"gate": (32, 48), "up": (32, 48), "down": (48, 32)}
    names = [submodule.name for submodule in anatomy.submodules]
    assert len(set(names)) == len(names)
    assert "model.layers.1.mlp.experts.3.gate" in names
    assert anatomy.skipped == {
        "mlp.gate.weight": Skipped.ROUTER,
        "mlp.shared_expert_gate.weight": Skipped.GATE,
    }
    assert "gate of experts: 12 of 32 x 48" in anatomy.describe()
    assert not any(submodule.expert is not None for submodule in anatomy.without_experts().submodules)


class _ListOfExperts(nn.Module):
    """Experts as code outside transformers has them: a list of small networks."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(48, 4)
        self.experts = nn.ModuleList(nn.ModuleDict({"w1": nn.Linear(48, 8), "w2": nn.Linear(8, 48)}) for _ in range(4))
        self.shared = nn.Parameter(torch.zeros(4, 8, 48))


def test_experts_that_only_their_class_tells_are_told_too() -> None:
    sizes = {**SMALL, "hidden_size": 48, "num_hidden_layers": 2, "num_key_value_heads": 2, "kv_channels": 12}
    config = transformers.JetMoeConfig(**sizes, intermediate_size=32, num_local_experts=4)
    skipped = find_anatomy(transformers.JetMoeForCausalLM(config)).skipped
    assert skipped["mlp.input_linear.weight"] == skipped["mlp.output_linear.weight"] == Skipped.EXPERTS


def test_experts_whose_routing_cannot_be_seen_are_left_alone_and_told() -> None:
    model = make_model("llama")
    model.config.num_experts = 4
    model.model.layers[1].mlp = _ListOfExperts()
    model.model.layers[2].mlp.experts = nn.Module()
    model.model.layers[2].mlp.experts.w1 = nn.Parameter(torch.zeros(32, 48))
    anatomy = find_anatomy(model)
    assert {submodule.kind for submodule in anatomy.of_layer(1)} == {"q", "k", "v", "o"}
    assert anatomy.skipped == {
        "mlp.gate.weight": Skipped.ROUTER,
        "mlp.experts.*.w1.weight": Skipped.EXPERTS,
        "mlp.experts.*.w2.weight": Skipped.EXPERTS,
        "mlp.experts.w1": Skipped.EXPERTS,
    }


def test_rows_of_linear_attention_are_those_the_model_takes() -> None:
    model = make_model("qwen3_next")
    taken = model.model.layers[0].linear_attn.fix_query_key_value_ordering(
        torch.arange(96)[None, None], torch.zeros(1, 1, 8)
    )
    rows = linear_qkvz(model.config)
    for kind, part in zip(("q", "k", "v", "output_gate"), taken[:4], strict=True):
        assert part.flatten().tolist() == rows[kind].tolist()


@pytest.mark.parametrize("architecture", ["qwen3_next", "qwen3_5"])
def test_rows_of_a_gated_query_are_told_apart(architecture: str) -> None:
    """A norm behind the query makes its size indifferent; that of the gate is not."""
    ids = torch.arange(5, 25)[None]
    for kind, is_indifferent in (("q", True), ("output_gate", False)):
        model = make_model(architecture)
        with torch.no_grad():
            before = model(ids).logits
            submodule = next(one for one in find_anatomy(model).of_layer(1) if one.kind == kind)
            submodule.put(submodule.stored, 4 * submodule.weight())
            after = model(ids).logits
        assert torch.allclose(before, after, atol=1e-3) == is_indifferent


def test_an_architecture_without_one_list_of_layers_is_refused() -> None:
    config = transformers.T5Config(d_model=16, num_layers=2, num_decoder_layers=2, **SMALL)
    with pytest.raises(InputError, match="not supported"):
        find_anatomy(transformers.T5ForConditionalGeneration(config))


def test_queries_twice_as_wide_as_a_head_are_not_taken_for_gated_ones() -> None:
    """In latent attention ``head_dim`` is the part with positions: in Mistral Large 4, half of a head."""
    config = transformers.DeepseekV2Config(
        **{**LLAMA, **LATENTS, "num_key_value_heads": 4, "q_lora_rank": None, "head_dim": 8}, first_k_dense_replace=3
    )
    anatomy = find_anatomy(transformers.AutoModelForCausalLM.from_config(config))
    queries = [submodule for submodule in anatomy.of_layer(0) if submodule.module_name.endswith("q_proj")]
    assert [(submodule.kind, submodule.shape) for submodule in queries] == [("q", (4 * 16, 48))]


def test_matrices_that_layers_share_are_left_alone() -> None:
    config = transformers.ZambaConfig(
        **{**LLAMA, "num_hidden_layers": 4},
        layers_block_type=["mamba", "hybrid", "mamba", "hybrid"],
        mamba_d_state=16,
        use_mamba_kernels=False,
    )
    anatomy = find_anatomy(transformers.AutoModelForCausalLM.from_config(config))
    assert anatomy.skipped["shared_transf.self_attn.q_proj.weight"] is Skipped.SHARED
    assert not any("shared_transf" in submodule.name for submodule in anatomy.submodules)
    assert {submodule.layer for submodule in anatomy.submodules} == {0, 1, 2, 3}
