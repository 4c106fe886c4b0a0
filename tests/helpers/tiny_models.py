"""Tiny random models of many architectures, and a tokenizer with a chat template."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from helpers.architectures import ARCHITECTURES

TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}<s>You are kind.\n{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'].strip() }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


SPECIAL = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"]


CONFIGS = ["llama", "qwen2", "gemma3", "phi3", "gpt2", "gpt_neox", "falcon", "stablelm"]


"""Those of dense models on which the finer tests run; tests/test_architectures.py goes over all."""


REQUIRED = ["llama", "qwen2", "gemma3", "phi3", "gpt2"]


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *sorted(alphabet)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
    )


def make_model(architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = ARCHITECTURES[architecture]()
    writes_text = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    automatic = transformers.AutoModelForCausalLM if writes_text else transformers.AutoModelForImageTextToText
    model = automatic.from_config(config).to(dtype).eval()
    with torch.no_grad():  # larger than the usual initialisation, so that prompts differ; biases not zero
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.normal_(0, 0.1)
            elif parameter.ndim == 2 or "experts" in name:
                parameter.normal_(0, 0.15)
    return model


def save_checkpoint(folder: Path, architecture: str, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    model = make_model(architecture, dtype)
    model.save_pretrained(folder, **options)
    make_tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\ntags:\n- tiny\n---\n# A tiny model\n\nIts own card.\n")
    return folder


def copy_with_template(checkpoint: Path, folder: Path, template: str) -> Path:
    """Copy a checkpoint to a new folder, with another chat template."""
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder
