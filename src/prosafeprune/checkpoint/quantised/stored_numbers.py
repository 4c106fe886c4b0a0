"""Numbers as quantised checkpoints store them: tensors of any dtype, integers of a few bits, 4-bit floats."""

import torch

from prosafeprune.checkpoint.safetensors_file import DTYPES, StoredTensor
from prosafeprune.errors import InputError

ALL_DTYPES = {
    **DTYPES,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.uint8,  # exponents, of which this is how some files say it
    "I64": torch.int64,
    "I32": torch.int32,
    "U32": torch.int32,  # only its bits are used, and torch computes little with unsigned integers
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""The values of a 4-bit float with 2 bits of exponent (OCP Microscaling Formats, section 5.3.3)."""


def read_number(stored: StoredTensor) -> torch.Tensor:
    """Return a tensor of any dtype as stored. Raises InputError when the dtype is unknown."""
    if stored.dtype not in ALL_DTYPES:
        raise InputError(f"{stored.file.name}: holds weights of the dtype {stored.dtype}, which cannot be read.")
    with stored.file.open("rb") as stream:
        stream.seek(stored.start)
        data = bytearray(stream.read(stored.end - stored.start))
    dtype = ALL_DTYPES[stored.dtype]
    return torch.frombuffer(data, dtype=dtype).view(stored.shape) if data else torch.empty(stored.shape, dtype=dtype)


def unpack_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the unsigned integers of ``bits`` bits in 32-bit words, the lowest bits first, across word boundaries.

    Args:
        words: int32, shape ``(..., n)``, with ``32 * n`` a multiple of ``bits``.
        bits: 1 to 8.

    Returns:
        int16, shape ``(..., 32 * n / bits)``.
    """
    single = (words.contiguous().view(torch.uint8).unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1
    groups = single.reshape(*words.shape[:-1], -1, bits).to(torch.int16)
    return (groups << torch.arange(bits, dtype=torch.int16)).sum(-1, dtype=torch.int16)


def unpack_fp4(packed: torch.Tensor) -> torch.Tensor:
    """Return the 4-bit floats of bytes ``(..., n)``, the lower half first: float32, shape ``(..., 2 n)``."""
    values = torch.tensor(E2M1)
    return torch.stack([values[(packed & 15).int()], values[(packed >> 4).int()]], -1).flatten(-2)


def powers_of_two(exponents: torch.Tensor) -> torch.Tensor:
    """Return ``2 ** (e - 127)`` for bytes ``e`` (E8M0, OCP Microscaling Formats, section 5.4.1), in float32."""
    return torch.ldexp(torch.ones(exponents.shape), exponents.int() - 127)
