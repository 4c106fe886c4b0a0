"""A model on the meta device, whose weights are loaded layer by layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from transformers import PreTrainedModel

from prosafeprune.errors import InputError
from prosafeprune.model.device_placement import choose_device
from prosafeprune.model.loading import (
    automatic_class,
    cannot_load,
    choose_dtype,
    load_tokenizer,
    return_logits_alone,
    stored_dtype,
)
from prosafeprune.parallel.launch import ALL_GPUS


@dataclass(frozen=True)
class MetaModel:
    """A causal language model whose parameters take no memory until they are loaded."""

    name: str
    folder: Path
    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    stored_dtype: torch.dtype
    run_dtype: torch.dtype


def load_meta_model(
    folder: Path, name: str, *, device: str, dtype: str, trust_remote_code: bool, system: str | None = None
) -> MetaModel:
    """Make the model of a checkpoint folder from its config, with parameters on torch's meta device.

    Raises:
        InputError: unknown architecture, no chat template, an unusable device or dtype.
    """
    if device == ALL_GPUS:
        raise InputError(f"--device {ALL_GPUS}: --memory low runs one layer at a time on one GPU. Use cuda.")
    chosen_device = choose_device(device)
    stored = stored_dtype(folder)
    tokenizer = load_tokenizer(folder, name, trust_remote_code=trust_remote_code, system=system)
    run_dtype = choose_dtype(dtype, stored, chosen_device)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        # Buffers stay real: rotary frequencies are computed, not stored.
        with init_empty_weights(include_buffers=False):
            model = automatic_class(config).from_config(config, dtype=run_dtype, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise cannot_load(name, error) from error
    model.eval()
    model.requires_grad_(False)
    return_logits_alone(model)
    for module in model.modules():
        for buffer_name, buffer in module.named_buffers(recurse=False):
            module._buffers[buffer_name] = buffer.to(chosen_device)
    return MetaModel(name, folder, model, tokenizer, chosen_device, stored, run_dtype)
