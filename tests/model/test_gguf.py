"""GGUF files: what transformers' loader would drop in silence is carried over, or the file is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader
from helpers.architectures import LLAMA
from helpers.gguf_files import gguf_metadata, gguf_tensors, logits_of, rounded, write_gguf, write_split_gguf
from helpers.tiny_models import make_model, make_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.integrations.gguf.utils import is_gguf_arch_supported

from prosafeprune.errors import InputError
from prosafeprune.model.gguf import convert_gguf, converted_bytes, read_gguf
from prosafeprune.model.gguf_metadata import complete_config
from prosafeprune.progress import SilentReporter


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer of a GGUF is transformers' business."""
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: make_tokenizer())


def tiny(architecture: str, **rope: Any) -> Any:
    model = make_model(architecture)
    if rope:
        config = model.config
        config.rope_parameters = {"rope_theta": 10000.0, **rope}
        scaled = type(model)(config).eval()
        scaled.load_state_dict(model.state_dict())
        return scaled
    return model


def files_of(model: Any, architecture: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return gguf_metadata(model.config), gguf_tensors(model, architecture)


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_gguf_is_read_as_the_model_it_was_made_from(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    file = write_gguf(tmp_path / "tiny.gguf", architecture, *files_of(model, architecture))
    read, _ = read_gguf(file)
    assert torch.allclose(logits_of(read), logits_of(rounded(model)), atol=1e-3)


@pytest.mark.parametrize("lost", ["blk.1.ffn_up.weight", "output.weight", "token_embd.weight"])
def test_missing_tensors_are_named(lost: str, tmp_path: Path) -> None:
    metadata, tensors = files_of(tiny("llama"), "llama")
    del tensors[lost]
    if lost == "output.weight":  # without it, the head is the embeddings': as of a model that ties them
        assert read_gguf(write_gguf(tmp_path / "a.gguf", "llama", metadata, tensors))[0].config.tie_word_embeddings
        return
    with pytest.raises(InputError, match=r"a\.gguf: 1 tensors are missing, such as") as caught:
        read_gguf(write_gguf(tmp_path / "a.gguf", "llama", metadata, tensors))
    assert lost.removesuffix(".weight") in str(caught.value) or "model." in str(caught.value)


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    metadata, tensors = files_of(tiny("llama"), "llama")
    tensors["blk.0.ffn_up.scale"] = np.ones(1, dtype=np.float32)
    with pytest.raises(InputError, match=r"1 tensors are unknown .* such as blk\.0\.ffn_up\.scale"):
        read_gguf(write_gguf(tmp_path / "a.gguf", "llama", metadata, tensors))


def test_an_experts_half_that_is_missing_is_named(tmp_path: Path) -> None:
    """transformers fills it with zeros, and reports nothing missing."""
    metadata, tensors = moe_files()
    del tensors["blk.1.ffn_up_exps.weight"]
    with pytest.raises(InputError, match=r"missing, such as blk\.1\.ffn_up_exps"):
        read_gguf(write_gguf(tmp_path / "a.gguf", "qwen2moe", metadata, tensors))


def moe_files() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    model = make_model("qwen2_moe")
    metadata, tensors = gguf_metadata(model.config), gguf_tensors(model, "qwen2moe")
    metadata |= {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
    metadata |= {"expert_shared_feed_forward_length": 40}
    for number, layer in enumerate(model.model.layers):
        gate, up = layer.mlp.experts.gate_up_proj.detach().chunk(2, dim=1)
        down = layer.mlp.experts.down_proj.detach()
        for kind, stacked in (("gate", gate), ("up", up), ("down", down)):
            tensors[f"blk.{number}.ffn_{kind}_exps.weight"] = stacked.contiguous().numpy()
        tensors[f"blk.{number}.ffn_gate_inp_shexp.weight"] = tensors[f"blk.{number}.ffn_gate_inp_shexp.weight"][0]
    return metadata, tensors


def test_widths_of_experts_that_transformers_does_not_read_are_carried_over(tmp_path: Path) -> None:
    model = make_model("qwen2_moe")
    read, _ = read_gguf(write_gguf(tmp_path / "a.gguf", "qwen2moe", *moe_files()))
    assert (read.config.moe_intermediate_size, read.config.shared_expert_intermediate_size) == (32, 40)
    assert torch.allclose(logits_of(read), logits_of(rounded(model)), atol=1e-3)


def test_all_parts_of_a_split_file_are_read(tmp_path: Path) -> None:
    model = tiny("llama")
    metadata, tensors = files_of(model, "llama")
    parts = write_split_gguf(tmp_path, "llama", metadata, tensors)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for part in parts:
        read, _ = read_gguf(part, scratch)
        assert torch.equal(logits_of(read), logits_of(rounded(model)))
    assert list(scratch.iterdir()) == []
    values = sum(one.size for one in tensors.values())
    assert converted_bytes(parts[0]) == 2 * values + sum(part.stat().st_size for part in parts)


def test_parts_that_are_missing_or_renamed_are_told(tmp_path: Path) -> None:
    first, second = write_split_gguf(tmp_path, "llama", *files_of(tiny("llama"), "llama"))
    second.rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(InputError, match=r"1 parts are missing, such as tiny-00002-of-00002\.gguf"):
        read_gguf(first)
    with pytest.raises(InputError, match="one of 2 parts of a split GGUF"):
        converted_bytes(tmp_path / "elsewhere.gguf")


SCALINGS = [
    (
        {"rope_type": "linear", "factor": 4.0},
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    (
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
            "rope.scaling.finetuned": True,
        },
    ),
    ({"rope_type": "linear", "factor": 2.0}, {"rope.scale_linear": 2.0}),
    (
        {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 128,
            "attention_factor": 0.9 * (0.1 * math.log(4) + 1),
        },
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
            "rope.scaling.attn_factor": 0.9,
        },
    ),
]


@pytest.mark.parametrize(("rope", "keys"), SCALINGS, ids=["linear", "yarn", "old linear", "yarn with a factor"])
def test_rope_scaling_is_carried_over(rope: dict[str, Any], keys: dict[str, Any], tmp_path: Path) -> None:
    model = tiny("qwen2", **rope)
    metadata, tensors = files_of(model, "qwen2")
    (tmp_path / "out").mkdir()
    file = write_gguf(tmp_path / "a.gguf", "qwen2", metadata | keys, tensors)
    convert_gguf(file, tmp_path / "out", SilentReporter())
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.allclose(logits_of(read), logits_of(rounded(model)), atol=1e-3)
    assert not torch.allclose(logits_of(read), logits_of(tiny("qwen2")), atol=1e-1)


def test_llama_3s_scaling_is_found_in_its_frequencies(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(**{**LLAMA, "hidden_size": 128}, tie_word_embeddings=False)
    parameters = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    parameters |= {"rope_theta": 10000.0, "original_max_position_embeddings": 256}
    config.rope_parameters = parameters
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    inverse = 10000.0 ** -(np.arange(16) / 16)
    divisors = (inverse / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    assert len(set(divisors.round(4).tolist())) > 1
    metadata, tensors = files_of(model, "llama")
    file = write_gguf(tmp_path / "a.gguf", "llama", metadata, tensors | {"rope_freqs.weight": divisors})
    read, _ = read_gguf(file)
    assert torch.allclose(logits_of(read), logits_of(rounded(model)), atol=1e-3)
    assert read.config.rope_parameters["factor"] == 32.0
    return_logits = logits_of(read)
    odd = write_gguf(tmp_path / "b.gguf", "llama", metadata, tensors | {"rope_freqs.weight": divisors[::-1].copy()})
    read, _ = read_gguf(odd)
    assert read.config.rope_parameters["rope_type"] == "longrope"
    model.model.rotary_emb.inv_freq = torch.from_numpy((inverse / divisors[::-1]).astype(np.float32))
    assert torch.allclose(logits_of(read), logits_of(model), atol=1e-3)
    assert not torch.allclose(logits_of(read), return_logits, atol=1e-2)
    few = write_gguf(tmp_path / "c.gguf", "llama", metadata, tensors | {"rope_freqs.weight": divisors[:5].copy()})
    with pytest.raises(InputError, match=r"c\.gguf: .* 5 RoPE frequencies"):
        read_gguf(few)


def test_phis_long_factors_are_carried_over(tmp_path: Path) -> None:
    factors = {
        f"rope_factors_{one}.weight": np.linspace(1, top, 6, dtype=np.float32)
        for one, top in (("long", 4), ("short", 1.5))
    }
    model = make_model("phi3")
    metadata, tensors = files_of(model, "phi3")
    keys = {"rope.scaling.original_context_length": 128, "rope.scaling.attn_factor": 1.19}
    read, _ = read_gguf(write_gguf(tmp_path / "a.gguf", "phi3", metadata | keys, tensors | factors))
    rope = read.config.rope_parameters
    assert (rope["rope_type"], rope["original_max_position_embeddings"]) == ("longrope", 128)
    assert rope["long_factor"] == pytest.approx(np.linspace(1, 4, 6))
    assert rope["attention_factor"] == pytest.approx(1.19)


def test_gemma_3_scales_full_attention_alone(tmp_path: Path) -> None:
    model = make_model("gemma3")
    metadata = {**gguf_metadata_of_gemma(model.config), "rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    metadata |= {"attention.sliding_window_pattern": 2}
    read, _ = read_gguf(write_gguf(tmp_path / "a.gguf", "gemma3", metadata, gguf_tensors(model, "gemma3")))
    rope = read.config.rope_parameters
    assert (rope["full_attention"]["rope_type"], rope["full_attention"]["factor"]) == ("linear", 8.0)
    assert rope["sliding_attention"]["rope_type"] == "default"
    assert read.config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert read.config.final_logit_softcapping == model.config.final_logit_softcapping
    assert read.config.query_pre_attn_scalar == 16  # the width of a head, as llama.cpp has it; transformers' is 256


@pytest.mark.parametrize(("layers", "scalar"), [(46, 12), (3, 16)])
def test_gemma_2s_attention_scale_and_soft_caps_are_carried_over(layers: int, scalar: int, tmp_path: Path) -> None:
    model = make_model("gemma2")
    metadata = {**gguf_metadata(model.config), "attention.key_length": 16, "attention.value_length": 16}
    metadata |= {"attention.sliding_window": 16, "rope.dimension_count": 16, "block_count": layers}
    metadata |= {"attn_logit_softcapping": 40.0, "final_logit_softcapping": 20.0}
    file = write_gguf(tmp_path / "a.gguf", "gemma2", metadata, gguf_tensors(model, "gemma2"))
    loaded = transformers.AutoConfig.from_pretrained(tmp_path, gguf_file=file.name)
    config = complete_config(loaded, GGUFReader(file), "a.gguf")
    assert (config.query_pre_attn_scalar, config.sliding_window) == (scalar, 16)
    assert (config.attn_logit_softcapping, config.final_logit_softcapping) == (40.0, 20.0)


def gguf_metadata_of_gemma(config: Any) -> dict[str, Any]:
    flat = dict(config.rope_parameters)
    config.rope_parameters = flat["full_attention"]
    found = gguf_metadata(config)
    config.rope_parameters = flat
    window = {"attention.sliding_window": 16, "attention.key_length": 16, "attention.value_length": 16}
    return {**found, **window, "rope.dimension_count": 16}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("logit_scale", 0.5),
        ("rope.scaling.type", "ntk"),
        ("attention.causal", False),
        ("attention.sliding_window", 64),
        ("a_key_of_tomorrow", 3),
    ],
)
def test_what_a_config_cannot_express_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    metadata, tensors = files_of(tiny("llama"), "llama")
    file = write_gguf(tmp_path / "a.gguf", "llama", {**metadata, key: value}, tensors)
    with pytest.raises(InputError, match=r"a\.gguf: its metadata says .*config cannot express"):
        read_gguf(file)


@pytest.mark.skipif(not is_gguf_arch_supported("lfm2"), reason="transformers has no newer reader yet")
def test_a_key_that_transformers_newer_reader_drops_is_refused(tmp_path: Path) -> None:
    metadata, tensors = files_of(tiny("llama"), "llama")
    for more, is_read in (({"shortconv.l_cache": 3, "vocab_size": 300}, True), ({"a_key_of_tomorrow": 3}, False)):
        config = transformers.Lfm2Config(**LLAMA)
        reader = GGUFReader(write_gguf(tmp_path / "a.gguf", "lfm2", {**metadata, **more}, tensors))
        if is_read:
            assert complete_config(config, reader, "a.gguf").to_dict() == transformers.Lfm2Config(**LLAMA).to_dict()
            continue
        with pytest.raises(InputError, match=r"lfm2\.a_key_of_tomorrow = 3, which .*config cannot express"):
            complete_config(config, reader, "a.gguf")


@pytest.mark.parametrize("key", ["context_length", "attention.head_count", "attention.layer_norm_rms_epsilon"])
def test_a_key_whose_default_would_be_another_models_must_be_there(key: str, tmp_path: Path) -> None:
    metadata, tensors = files_of(tiny("llama"), "llama")
    del metadata[key]
    with pytest.raises(InputError, match=rf"a\.gguf: (its metadata has no llama\.{key}|could not be read)"):
        read_gguf(write_gguf(tmp_path / "a.gguf", "llama", metadata, tensors))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(4, 1500), st.binary(min_size=1, max_size=12))
def test_a_damaged_header_is_no_traceback_and_no_hang(tmp_path: Path, start: int, damage: bytes) -> None:
    file = tmp_path / "a.gguf"
    if not file.exists():
        write_gguf(file, "llama", *files_of(tiny("llama"), "llama"))
    content = bytearray(file.read_bytes())
    content[start : start + len(damage)] = damage
    (tmp_path / "b.gguf").write_bytes(content)
    try:
        assert converted_bytes(tmp_path / "b.gguf") >= 0
    except InputError as error:
        assert "\n" not in str(error)


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf", "llama", *files_of(tiny("llama"), "llama"))
    for length in (30, 1000, file.stat().st_size // 2):
        (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:length])
        with pytest.raises(InputError, match=r"cut\.gguf: could not be read") as caught:
            converted_bytes(tmp_path / "cut.gguf")
        assert "\n" not in str(caught.value)
