"""Models of published shapes with random weights, made on the device, and a tokenizer: no download."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.device_placement import avoid_cudnn_attention
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass, bundled_prompts

TRAINED = 6000
"""Entries of the vocabulary that are trained."""
SPECIAL = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}<s>You are a helpful assistant.\n{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'].strip() }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
POSITIONS = {"max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def _config(
    kind: str, hidden: int, inner: int, layers: int, heads: tuple[int, int], vocabulary: int, **options: Any
) -> Callable[[], Any]:
    """Return a function that makes a config; ``heads`` are those of the queries and of the keys and values."""
    return lambda: getattr(transformers, kind)(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        vocab_size=vocabulary,
        **{**POSITIONS, **options},
    )


SHAPES: dict[str, Callable[[], Any]] = {
    "qwen2-1.5b": _config("Qwen2Config", 1536, 8960, 28, (12, 2), 151936, tie_word_embeddings=True),
    "llama-7b": _config("LlamaConfig", 4096, 11008, 32, (32, 32), 32000, tie_word_embeddings=False),
    "llama-8b": _config("LlamaConfig", 4096, 14336, 32, (32, 8), 128256, tie_word_embeddings=False),
    "qwen3-30b-a3b": _config(
        "Qwen3MoeConfig",
        2048,
        6144,
        48,
        (32, 4),
        151936,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
        tie_word_embeddings=False,
    ),
    "tiny": _config("LlamaConfig", 64, 128, 8, (4, 2), 400, tie_word_embeddings=False),
}


def make_loaded(shape: str, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Return a model of a shape with random weights. No token ends an answer, so all answers are equally long."""
    avoid_cudnn_attention(device)
    torch.manual_seed(0)
    config = SHAPES[shape]()
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = model.to(device).eval().requires_grad_(False)
    # Without end tokens here either: model.generate reads them from its own config.
    model.generation_config = transformers.GenerationConfig(pad_token_id=2)
    tokenizer = make_tokenizer(config.vocab_size)
    return LoadedModel(shape, Path(), model, tokenizer, device, dtype, dtype, [])


def make_tokenizer(vocabulary: int) -> Any:
    """Return a tokenizer trained on the bundled prompts; further ids, which a random model writes, are numbered words.

    With its few thousand merges, prompts are about as long as with a published tokenizer.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(TRAINED, vocabulary),
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(
        (text for prompt_class in PromptClass for text in bundled_prompts(prompt_class, "test").texts), trainer
    )
    described = json.loads(trained.to_str())
    known = described["model"]["vocab"]
    known |= {f"Ġw{number}": number for number in range(len(known), vocabulary)}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
    )


def active_parameters(anatomy: Anatomy, experts_per_token: int) -> int:
    """Return how many weights of the decoder layers a token is multiplied with."""
    total = 0
    for submodule in anatomy.submodules:
        d_out, d_in = submodule.shape
        if submodule.expert is None or submodule.expert < experts_per_token:
            total += d_out * d_in
    return total
