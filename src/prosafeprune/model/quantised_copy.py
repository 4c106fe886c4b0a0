"""A copy of a model in 8 or 4 bits, which bitsandbytes makes while the weights are loaded, and new weights for it.

The matrices of linear layers are quantised: to 8 bits by rows (LLM.int8()) or to 4 bits in blocks of 64 (NF4).
Embeddings, the output head, norms and stacked experts stay as they are.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.auto import AutoHfQuantizer

from prosafeprune.errors import InputError
from prosafeprune.model.source import BITSANDBYTES

Load = Literal["8bit", "4bit"]
BITS_IN_WORDS: dict[Load, str] = {"8bit": "8 bits (LLM.int8())", "4bit": "4 bits (NF4)"}
FOUR_BIT_SETTINGS = ("blocksize", "compress_statistics", "quant_type", "quant_storage")


def quantisation_config(load: Load, dtype: torch.dtype) -> Any:
    """Return transformers' config of a copy whose other parts run in ``dtype``.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if find_spec(BITSANDBYTES) is None:
        raise InputError(f"--load {load}: needs bitsandbytes. pip install 'prosafeprune[quantised]'")
    # It reports every cast of a matrix product, and each kernel that another package may have.
    logging.getLogger(BITSANDBYTES).setLevel(logging.ERROR)
    if load == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_quant_storage=torch.uint8
    )


def return_freed_memory() -> None:
    """Return to the system what the matrices took before they were quantised: 0.9 GB of a 0.5 B model on a CPU."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def require_blocks(meta: PreTrainedModel, config: Any, name: str) -> None:
    """Raise InputError when the rows of a 4-bit matrix are not a multiple of a block, which some CPUs cannot run.

    Args:
        meta: the model on the meta device, which becomes what loading by ``config`` makes of it, without values.
    """
    AutoHfQuantizer.from_config(config, pre_quantized=False).preprocess_model(meta, device_map=None)
    for part, module in meta.named_modules():
        block = getattr(getattr(module, "weight", None), "blocksize", None)
        if block is not None and int(module.in_features) % block:
            raise InputError(
                f"{name}: --load 4bit takes matrices whose rows are multiples of {block}, and those of {part} have "
                f"{module.in_features} numbers. Use --load 8bit."
            )


def put_quantised(module: nn.Module, weight: torch.Tensor, dtype: torch.dtype) -> None:
    """Quantise ``W (d_out, d_in)``, rounded to ``dtype``, into a quantised linear module, as loading did."""
    import bitsandbytes

    linear: Any = module
    old = linear.weight
    dense = weight.to(dtype)
    if isinstance(old, bitsandbytes.nn.Params4bit):
        settings = {name: getattr(old, name) for name in FOUR_BIT_SETTINGS}
        new = bitsandbytes.nn.Params4bit(dense.to(old.device), requires_grad=False, **settings)
    else:
        new = bitsandbytes.nn.Int8Params(dense.cpu(), requires_grad=False, has_fp16_weights=False)
    linear.weight = new.to(old.device)  # which quantises it


@contextmanager
def quantised_from(module: nn.Module, weight: torch.Tensor, dtype: torch.dtype) -> Iterator[None]:
    """Inside the context the module has ``W`` as :func:`put_quantised` puts it; afterwards what it had, to the bit."""
    linear: Any = module
    kept, state = linear.weight, getattr(linear, "state", None)  # 8 bits have one, with the numbers and their scales
    numbers = (state.CB, state.SCB) if state is not None else (None, None)
    try:
        put_quantised(module, weight, dtype)
        yield
    finally:
        linear.weight = kept
        if state is not None:
            state.CB, state.SCB = numbers
