"""Memory of dequantising one matrix, in bytes for each of its numbers, by format.

    python benchmarks/dequantising.py [--width 8192]

Each format in a process of its own, on a square matrix of zeros of the format's documented layout (for MXFP4 four
experts stacked, with as many numbers). Peak memory is ``VmHWM`` of the process over what it was before the matrix was
read; what is read is then rounded to bfloat16 and made bytes, as it is written. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

import torch

from prosafeprune.checkpoint.quantised.formats import FORMATS
from prosafeprune.checkpoint.safetensors_file import stored_tensors

GROUP, BLOCK = 128, 128
BYTES = {"I32": 4, "F32": 4, "F16": 2, "U8": 1, "F8_E4M3": 1}
Headers = dict[str, tuple[str, tuple[int, ...]]]


def layout(kind: str, width: int) -> Headers:
    """Return dtype and shape of the tensors that a format stores for a square matrix."""
    words, groups = width // 8, width // GROUP
    scales: Headers = {"a.scales": ("F16", (groups, width)), "a.qzeros": ("I32", (groups, words))}
    if kind == "gptq":
        return {"a.qweight": ("I32", (words, width)), **scales}
    if kind == "awq":
        return {"a.qweight": ("I32", (width, words)), **scales}
    if kind == "mxfp4":
        blocks = (4, width // 4, width // 32)
        return {"a_blocks": ("U8", (*blocks, 16)), "a_scales": ("U8", blocks)}
    blocked = (width // BLOCK, width // BLOCK)
    return {"a.weight": ("F8_E4M3", (width, width)), "a.weight_scale_inv": ("F32", blocked)}


def write_zeros(folder: Path, tensors: Headers) -> None:
    """Write model.safetensors with these tensors, its data a hole in the file."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        stream.truncate(8 + len(raw) + end)


def peak() -> int:
    """Return this process's peak memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def measure(kind: str, width: int) -> float:
    """Dequantise a matrix; return the bytes that took, for each of its numbers."""
    with tempfile.TemporaryDirectory() as made:
        write_zeros(Path(made), layout(kind, width))
        settings = {"group_size": GROUP, "weight_block_size": [BLOCK, BLOCK]}
        (matrix,) = FORMATS[kind](stored_tensors(Path(made)), settings).matrices.values()
        before = peak()
        values = matrix.read().to(torch.bfloat16)
        torch.isfinite(values).all()
        values.contiguous().view(torch.uint8).numpy().tobytes()
        return (peak() - before) / width**2


def main() -> None:
    """Measure one format, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--kind", choices=("fp8", "gptq", "awq", "mxfp4"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind is not None:
        print(measure(options.kind, options.width))
        return
    found = {}
    for kind in ("fp8", "gptq", "awq", "mxfp4"):
        command = [sys.executable, __file__, "--kind", kind, "--width", str(options.width)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[kind] = round(float(done.stdout), 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
