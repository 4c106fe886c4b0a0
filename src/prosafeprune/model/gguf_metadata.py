"""The metadata of a GGUF file against the config that transformers makes from it.

transformers reads a dozen keys and silently drops the others; the config class's defaults, which are those of one
checkpoint, are then used instead. Here every key of the architecture is either expressed by the config, if need be by
changing it, or the file is refused. RoPE scaling is partly in tensors.
"""

import math
from typing import Any

import numpy as np

from prosafeprune.errors import InputError

ROPE_TENSORS = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
"""Tensors that are part of the config of a transformers model."""
ATTRIBUTES = {
    "context_length": ("max_position_embeddings", "seq_length"),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "attention.sliding_window": ("sliding_window",),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("head_dim",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "expert_count": ("num_local_experts", "num_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "use_parallel_residual": ("use_parallel_residual",),
}
"""The attribute that holds a key's value: the first that the config has."""
REQUIRED = (
    ("context_length",),
    ("attention.head_count",),
    ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
)
"""Keys of which a file must have one: no tensor's shape says the value, and the default is that of another model."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "logit_scale": (1.0,),
    "embedding_scale": (1.0,),
    "residual_scale": (1.0,),
    "leading_dense_block_count": (0,),
    "expert_shared_count": (0,),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_weights_scale": (0.0, 1.0),
    "nextn_predict_layers": (0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
}
"""Values that change nothing, of keys that a config does not express."""
SAYS_NOTHING = {"tensor_data_layout", "pooling_type", "rope.scaling.finetuned"}
READ_APART = {
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_attn_factor",
    "attention.sliding_window_pattern",
}
READ_BY_TRANSFORMERS = {
    *("context_length", "embedding_length", "block_count", "nextn_predict_layers", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon"),
    *("full_attention_interval", "ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank"),
    *("ssm.inner_size", "shortconv.l_cache", "rope.freq_base", "rope.dimension_count", "rope.dimension_sections"),
    *("expert_count", "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length"),
}
"""Keys that transformers' newer reader, of LFM2 and Qwen3.5, sets in the config, some under another meaning."""
SCALED_BY_WIDTH = {("gemma2", 46), ("gemma3", 62)}
"""Architectures and layers of the models whose attention is scaled by the width per head (the 27B ones), not by the
head's own: no key says it, and llama.cpp goes by this, too."""


def complete_config(config: Any, reader: Any, name: str) -> Any:
    """Return the config with everything that the file's metadata says of the architecture.

    Args:
        config: what transformers makes of the file; it is changed.
        reader: the file, as ``gguf.GGUFReader`` has it.
        name: the user's name for it.

    Raises:
        InputError: a key, or a RoPE scaling, that the config cannot express, or a key that is missing.
    """
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    architecture = str(reader.fields["general.architecture"].contents())
    prefix = f"{architecture}."
    given = {
        key.removeprefix(prefix): field.contents() for key, field in reader.fields.items() if key.startswith(prefix)
    }
    for several in REQUIRED:
        if not any(key in given for key in several):
            raise InputError(f"{name}: its metadata has no {prefix}{several[0]}. Fetch the complete model again.")
    if is_gguf_arch_supported(architecture):
        given = {key: value for key, value in given.items() if key not in READ_BY_TRANSFORMERS}
    bloom_has_alibi = {"attention.max_alibi_bias"} if architecture == "bloom" else set()
    for key, value in given.items():
        if key in ATTRIBUTES:
            _carry_over(config, key, value, name)
        elif key not in READ_APART | SAYS_NOTHING | bloom_has_alibi and not _is_neutral(key, value):
            raise _cannot_express(name, f"{prefix}{key} = {value}")
    if (width := getattr(config, "query_pre_attn_scalar", None)) is not None:
        by_width = (architecture, config.num_hidden_layers) in SCALED_BY_WIDTH
        width = config.hidden_size // config.num_attention_heads if by_width else config.head_dim
        config.query_pre_attn_scalar = width
    _set_layer_types(config, given, name)
    _set_rope(config, given, _rope_tensors(reader), name)
    return config


def _cannot_express(name: str, what: str) -> InputError:
    return InputError(
        f"{name}: its metadata says {what}, which a transformers config cannot express. Give the original checkpoint "
        "in safetensors."
    )


def _is_neutral(key: str, value: Any) -> bool:
    if key == "expert_gating_func":  # 1: softmax
        return bool(value == 1)
    return any(value == neutral for neutral in NEUTRAL.get(key, ()))


def _carry_over(config: Any, key: str, value: Any, name: str) -> None:
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise _cannot_express(name, f"a different {key} for each layer")
        value = value[0]
    attribute = next((attribute_name for attribute_name in ATTRIBUTES[key] if hasattr(config, attribute_name)), None)
    if attribute is None:
        if key.startswith("expert_") and not value:
            return  # a model without experts
        context = getattr(config, "max_position_embeddings", None) or math.inf
        if key == "attention.sliding_window" and (not value or value >= context):
            return  # a window as wide as the context changes nothing
        heads = getattr(config, "num_attention_heads", 0)
        if "head_dim" in ATTRIBUTES[key] and heads and config.hidden_size // heads == value:
            return
        raise _cannot_express(name, f"{key} = {value}")
    present = getattr(config, attribute)
    if key == "attention.sliding_window":
        value = value or None
    is_close = isinstance(value, float) and isinstance(present, float) and math.isclose(value, present, rel_tol=1e-5)
    if not is_close and present != value:
        setattr(config, attribute, value)


def _set_layer_types(config: Any, given: dict[str, Any], name: str) -> None:
    pattern = given.get("attention.sliding_window_pattern")
    if pattern is None:
        return
    count = config.num_hidden_layers
    slides = pattern if isinstance(pattern, list) else [(i + 1) % int(pattern) != 0 for i in range(count)]
    if not hasattr(config, "layer_types") or len(slides) < count:
        raise _cannot_express(name, "which layers have a sliding window")
    config.layer_types = ["sliding_attention" if is_sliding else "full_attention" for is_sliding in slides[:count]]


def _set_rope(config: Any, given: dict[str, Any], tensors: dict[str, np.ndarray], name: str) -> None:
    rope = getattr(config, "rope_parameters", None)
    scaling = _scaling(config, given, tensors, name)
    if rope is None:
        if scaling or any(key in given for key in ("rope.freq_base", "rope.freq_base_swa")):
            raise _cannot_express(name, "RoPE of an architecture without it")
        return
    by_kind = {kind: settings for kind, settings in rope.items() if isinstance(settings, dict)}
    full = by_kind.get("full_attention", rope)  # Gemma 3 scales its full attention only
    if "rope.freq_base" in given and not math.isclose(full.get("rope_theta", 0), given["rope.freq_base"], rel_tol=1e-5):
        full["rope_theta"] = given["rope.freq_base"]
    if "rope.freq_base_swa" in given:
        if "sliding_attention" not in by_kind:
            raise _cannot_express(name, "another RoPE base for sliding attention")
        by_kind["sliding_attention"]["rope_theta"] = given["rope.freq_base_swa"]
    rotated = given.get("rope.dimension_count")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for settings in by_kind.values() if by_kind else [rope]:
        present = settings.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
        if rotated and int(width * present) != rotated:
            settings["partial_rotary_factor"] = rotated / width
    full.update(scaling)
    original = "original_max_position_embeddings"  # Phi-3 has it twice, and this one wins
    if original in scaling and hasattr(config, original):
        setattr(config, original, scaling[original])


def _scaling(config: Any, given: dict[str, Any], tensors: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """Return the RoPE scaling as transformers names it; empty when there is none."""
    factor = given.get("rope.scaling.factor", given.get("rope.scale_linear"))
    original = given.get("rope.scaling.original_context_length") or config.max_position_embeddings
    kind = given.get("rope.scaling.type") or ("linear" if factor not in (None, 0.0, 1.0) else "none")
    if {"rope_factors_long.weight", "rope_factors_short.weight"} <= tensors.keys():
        long, short = (tensors[f"rope_factors_{length}.weight"].tolist() for length in ("long", "short"))
        found = {"rope_type": "longrope", "long_factor": long, "short_factor": short}
        found["attention_factor"] = _attention_factor(given)  # else transformers would compute one
        return found | {"original_max_position_embeddings": int(original)}
    if "rope_freqs.weight" in tensors:
        return _scaling_by_divisors(config, given, tensors["rope_freqs.weight"].ravel(), name)
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn" and factor:
        betas = {
            setting: given[f"rope.scaling.yarn_{setting}"]
            for setting in ("beta_fast", "beta_slow")
            if f"rope.scaling.yarn_{setting}" in given
        }
        found = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": int(original), **betas}
        if not math.isclose(attention := _attention_factor(given), 1):
            found["attention_factor"] = attention * (0.1 * math.log(factor) + 1)
        return found
    if not math.isclose(_attention_factor(given), 1):
        raise _cannot_express(name, f"rope.scaling.attn_factor with RoPE scaling of the type {kind}")
    if kind != "none":
        raise _cannot_express(name, f"RoPE scaling of the type {kind}")
    return {}


def _attention_factor(given: dict[str, Any]) -> float:
    return float(given.get("rope.scaling.attn_factor", given.get("rope.scaling.yarn_attn_factor", 1.0)) or 1.0)


def _scaling_by_divisors(config: Any, given: dict[str, Any], divisors: np.ndarray, name: str) -> dict[str, Any]:
    """Return the RoPE parameters of a file that has only the resulting divisors of the frequencies.

    Llama 3's follow from a factor, two cut-offs (1 and 4 in all of Meta's models) and the length of the original
    context. Any others are those of a longrope whose two sets of factors are equal.

    Raises:
        InputError: there are more or fewer divisors than frequencies, or another scaling is given, too.
    """
    if given.get("rope.scaling.type") not in (None, "none", "llama3"):
        raise _cannot_express(name, "RoPE frequencies (rope_freqs.weight) and a RoPE scaling")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if len(divisors) != int(given.get("rope.dimension_count") or width) // 2 or not (divisors > 0).all():
        raise _cannot_express(name, f"{len(divisors)} RoPE frequencies (rope_freqs.weight) for heads of {width}")
    if np.allclose(divisors, 1):
        return {}
    base = given.get("rope.freq_base") or config.rope_parameters.get("rope_theta", 10000.0)
    wavelengths = 2 * math.pi * base ** (np.arange(len(divisors)) / len(divisors))
    factor = float(divisors.max())
    for original in (8192, *(2**power for power in range(6, 24))):
        smooth = np.clip((original / wavelengths - 1) / 3, 0, 1)
        if np.allclose(1 / ((1 - smooth) / factor + smooth), divisors, rtol=1e-3):
            found = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            return found | {"original_max_position_embeddings": original}
    factors = divisors.tolist()
    found = {"rope_type": "longrope", "long_factor": factors, "short_factor": factors, "attention_factor": 1.0}
    return found | {"original_max_position_embeddings": config.max_position_embeddings}


def _rope_tensors(reader: Any) -> dict[str, np.ndarray]:
    return {
        tensor.name: np.asarray(tensor.data, dtype=np.float32)
        for tensor in reader.tensors
        if tensor.name in ROPE_TENSORS
    }
