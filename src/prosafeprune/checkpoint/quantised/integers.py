"""Integers in 32-bit words with scales of groups: GPTQ, AWQ and MLX."""

from functools import partial

import torch

from prosafeprune.checkpoint.quantised.dequantised import (
    CheckpointLayout,
    DequantisedMatrix,
    Parts,
    Settings,
    Tensors,
    group_of_inputs,
    named,
    part,
    require_shape,
)
from prosafeprune.checkpoint.quantised.stored_numbers import unpack_words
from prosafeprune.errors import InputError

AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Positions of the eight columns of a word in AWQ's GEMM layout."""
MLX_BITS = (2, 3, 4, 5, 6, 8)


def gptq(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: gptq``: ``w = (q - z) * scale`` of the group of each input.

    ``qweight`` has the inputs in its rows' words, ``qzeros`` the outputs in its columns' words: ``z - 1`` in the
    original format, ``z`` in ``gptq_v2``.

    Raises:
        InputError: another packing, such as Marlin's.
    """
    packing = str(settings.get("checkpoint_format") or "gptq")
    if packing not in ("gptq", "gptq_v2"):
        raise InputError(f"GPTQ in the format {packing} cannot be read")
    found = CheckpointLayout()
    for name, words in named(tensors, ".qweight"):
        of = {"words": words, "zeros": part(tensors, f"{name}.qzeros"), "scales": part(tensors, f"{name}.scales")}
        groups, outputs = of["scales"].shape
        if f"{name}.g_idx" in tensors or (settings.get("desc_act") and groups > 1):  # act-order: of no fixed groups
            of["order"] = part(tensors, f"{name}.g_idx")
            inputs = of["order"].shape[0]
        else:
            inputs = groups * int(settings.get("group_size") or 0)
        bits = 32 * words.shape[0] // inputs if inputs > 0 else 0
        fits = bits in (2, 3, 4, 8) and words.shape == (inputs * bits // 32, outputs)
        require_shape(fits and of["zeros"].shape == (groups, outputs * bits // 32), name)
        compute = partial(_from_gptq, bits=bits, less_one=packing == "gptq")
        found.matrices[f"{name}.weight"] = DequantisedMatrix((outputs, inputs), of, compute)
    return found


def _from_gptq(parts: Parts, bits: int, less_one: bool) -> torch.Tensor:
    numbers = unpack_words(parts["words"].T, bits).float()
    scales, zeros = parts["scales"].float(), _zero_points(parts["zeros"], bits, less_one).float()
    order = group_of_inputs(parts, numbers.shape[1], len(scales))
    return (numbers - zeros[order].T) * scales[order].T


def _zero_points(words: torch.Tensor, bits: int, less_one: bool) -> torch.Tensor:
    """Return the zero points in words; ``less_one`` if one was subtracted from each, as in the original format.

    It was subtracted from all numbers of a word at once, so that a zero point of 0 borrowed from the next number, and
    is added again so. Numbers of 3 bits cross words: each of these wraps by itself.
    """
    if not less_one:
        return unpack_words(words, bits)
    if 32 % bits:
        wrapped: torch.Tensor = (unpack_words(words, bits) + 1) % 2**bits
        return wrapped
    return unpack_words(words + (2**32 - 1) // (2**bits - 1), bits)


def awq(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of ``quant_method: awq``, version ``gemm``: 4 bits, ``w = (q - z) * scale`` of its group.

    Raises:
        InputError: another version or number of bits, or activations that are divided by scales (Falcon, GPT-NeoX).
    """
    version, bits = str(settings.get("version") or "gemm").lower(), settings.get("bits", settings.get("w_bit", 4))
    if version != "gemm" or bits != 4:
        raise InputError(f"AWQ of version {version} with {bits} bits cannot be read")
    if of_activations := [name for name, _ in named(tensors, ".scales") if f"{name}.qweight" not in tensors]:
        raise InputError(f"AWQ with scales of activations ({min(of_activations)}.scales) cannot be read")
    found = CheckpointLayout()
    for name, words in named(tensors, ".qweight"):
        of = {"words": words, "zeros": part(tensors, f"{name}.qzeros"), "scales": part(tensors, f"{name}.scales")}
        inputs, outputs = words.shape[0], words.shape[1] * 8
        groups = of["scales"].shape[0]
        fits = of["scales"].shape == (groups, outputs) and of["zeros"].shape == (groups, words.shape[1])
        require_shape(fits and inputs % groups == 0, name)
        found.matrices[f"{name}.weight"] = DequantisedMatrix((outputs, inputs), of, _from_awq)
    return found


def _from_awq(parts: Parts) -> torch.Tensor:
    numbers, zeros = (
        unpack_words(parts[role], 4).unflatten(-1, (-1, 8))[..., AWQ_ORDER].flatten(-2).float()
        for role in ("words", "zeros")
    )
    scales = parts["scales"].float()
    size = len(numbers) // len(scales)
    weight: torch.Tensor = (numbers - zeros.repeat_interleave(size, 0)) * scales.repeat_interleave(size, 0)
    return weight.T


def mlx(tensors: Tensors, settings: Settings) -> CheckpointLayout:
    """Return the layout of Apple's MLX in its affine mode: ``w = scale * q + bias`` of groups along the inputs.

    Raises:
        InputError: another mode.
    """
    modes = {str(scheme.get("mode", "affine")) for scheme in [settings, *settings.values()] if isinstance(scheme, dict)}
    if modes != {"affine"}:
        raise InputError(f"MLX in the mode {min(modes - {'affine'})} cannot be read")
    found = CheckpointLayout()
    for name, scales in named(tensors, ".scales"):
        words = part(tensors, f"{name}.weight")
        own = settings.get(name)
        size = int((own if isinstance(own, dict) else settings).get("group_size") or 0)
        outputs, groups = scales.shape[0], scales.shape[-1]
        inputs = groups * size
        bits = 32 * words.shape[-1] // inputs if inputs else 0
        require_shape(
            len(words.shape) == 2 and bits in MLX_BITS and words.shape == (outputs, inputs * bits // 32), name
        )
        of = {"words": words, "scales": scales, "biases": part(tensors, f"{name}.biases")}
        found.matrices[f"{name}.weight"] = DequantisedMatrix((outputs, inputs), of, partial(_from_mlx, bits=bits))
    return found


def _from_mlx(parts: Parts, bits: int) -> torch.Tensor:
    numbers = unpack_words(parts["words"], bits).float()
    scales, biases = parts["scales"].float(), parts["biases"].float()
    size = numbers.shape[1] // scales.shape[1]
    return numbers * scales.repeat_interleave(size, 1) + biases.repeat_interleave(size, 1)
