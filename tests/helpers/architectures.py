"""A tiny config of every architecture in docs/architectures.md, and what its checkpoints look like beyond that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers

SMALL = {
    "vocab_size": 300,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
LLAMA = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    **SMALL,
}
SHORT_WINDOW = {"sliding_window": 16, "head_dim": 16}
WIDER_HEADS = {"sliding_window": 16, "head_dim": 16, "global_head_dim": 32, "num_global_key_value_heads": 1}
"""Those of full attention are twice as wide, as in Gemma 4."""
SLIDING_AND_FULL = ["sliding_attention", "full_attention", "sliding_attention"]
LATENTS = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12}
FOUR_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LINEAR_ATTENTION = {
    "head_dim": 16,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURES = {"image_size": 28, "patch_size": 14, "num_channels": 3}


def multimodal(config: type, text: str, vision: dict[str, Any], **options: Any) -> Any:
    return config(text_config={"model_type": text, **LLAMA, **options}, vision_config={**VISION, **vision})


ARCHITECTURES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA, tie_word_embeddings=False),
    "llama3": lambda: transformers.LlamaConfig(
        **LLAMA,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
    ),
    "qwen2": lambda: transformers.Qwen2Config(**LLAMA, tie_word_embeddings=True),
    "qwen3": lambda: transformers.Qwen3Config(**LLAMA, head_dim=16),
    "mistral": lambda: transformers.MistralConfig(**LLAMA, sliding_window=16),
    "gemma2": lambda: transformers.Gemma2Config(**LLAMA, **SHORT_WINDOW, layer_types=SLIDING_AND_FULL),
    "gemma3": lambda: transformers.Gemma3TextConfig(**LLAMA, **SHORT_WINDOW, layer_types=SLIDING_AND_FULL),
    "gemma4": lambda: transformers.Gemma4TextConfig(
        **{**LLAMA, **WIDER_HEADS, "attention_k_eq_v": True},
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        hidden_size_per_layer_input=0,
    ),
    "gemma4_shared": lambda: transformers.Gemma4TextConfig(
        **{**LLAMA, **WIDER_HEADS, "num_kv_shared_layers": 1},
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=300,
    ),
    "phi3": lambda: transformers.Phi3Config(**LLAMA),
    "olmo2": lambda: transformers.Olmo2Config(**LLAMA),
    "gpt2": lambda: transformers.GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=2048, **SMALL),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(
        hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, **SMALL
    ),
    "stablelm": lambda: transformers.StableLmConfig(**LLAMA, use_qkv_bias=True, partial_rotary_factor=0.5),
    "falcon": lambda: transformers.FalconConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_kv_heads=2,
        new_decoder_architecture=True,
        **SMALL,
    ),
    "mixtral": lambda: transformers.MixtralConfig(**LLAMA, num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(
        **{**LLAMA, "num_key_value_heads": 4},
        **LATENTS,
        **{"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        **{"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    ),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(**LLAMA, **FOUR_EXPERTS, shared_expert_intermediate_size=40),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**LLAMA, **FOUR_EXPERTS, mlp_only_layers=[0], head_dim=16),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **LLAMA,
        **SHORT_WINDOW,
        num_local_experts=4,
        num_experts_per_tok=2,
        layer_types=SLIDING_AND_FULL,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "qwen3_next": lambda: transformers.Qwen3NextConfig(
        **LLAMA, **FOUR_EXPERTS, **LINEAR_ATTENTION, shared_expert_intermediate_size=40
    ),
    "qwen3_5": lambda: transformers.Qwen3_5TextConfig(**LLAMA, **LINEAR_ATTENTION),
    "gemma3_vision": lambda: multimodal(
        transformers.Gemma3Config,
        "gemma3_text",
        {"model_type": "siglip_vision_model", **PICTURES},
        **SHORT_WINDOW,
        layer_types=SLIDING_AND_FULL,
    ),
    "qwen2_5_vl": lambda: multimodal(
        transformers.Qwen2_5_VLConfig,
        "qwen2_5_vl_text",
        {"depth": 3, "num_heads": 2, "out_hidden_size": 48, "fullatt_block_indexes": [1]},
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]},
    ),
    "qwen3_vl_moe": lambda: multimodal(
        transformers.Qwen3VLMoeConfig,
        "qwen3_vl_moe_text",
        {"depth": 3, "num_heads": 2, "out_hidden_size": 48, "deepstack_visual_indexes": [1]},
        **FOUR_EXPERTS,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
    ),
    "llava": lambda: multimodal(
        transformers.LlavaConfig, "llama", {"model_type": "clip_vision_model", "projection_dim": 32, **PICTURES}
    ),
    "mistral3": lambda: multimodal(
        transformers.Mistral3Config, "mistral", {"model_type": "pixtral", **PICTURES}, sliding_window=None
    ),
}
