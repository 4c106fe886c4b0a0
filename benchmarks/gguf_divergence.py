"""How far a GGUF's predictions are from llama.cpp's: as it is read, and with settings of its config changed.

It shows what the limits in ``prosafeprune.model.gguf_comparison`` distinguish. Further types are what its matrices are
quantised to before, in a file of its own. Needs ``pip install xllamacpp``:

    python benchmarks/gguf_divergence.py MODEL.gguf Q4_0 Q8_0 F16
"""

import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize

from prosafeprune.model.gguf import read_gguf
from prosafeprune.model.gguf_comparison import TEXT, divergences
from prosafeprune.model.gguf_file import open_parts, write_gguf
from prosafeprune.model.llama_cpp import predictions_of


def rope(**settings: Any) -> Callable[[Any], None]:
    """Return what changes settings of the RoPE."""
    return lambda config: config.rope_parameters.update(settings)


CHANGES: dict[str, Callable[[Any], None]] = {
    "as read": lambda config: None,
    "RoPE base x 10": lambda config: config.rope_parameters.update(
        rope_theta=10 * config.rope_parameters["rope_theta"]
    ),
    "RoPE base x 1.2": lambda config: config.rope_parameters.update(
        rope_theta=1.2 * config.rope_parameters["rope_theta"]
    ),
    "linear scaling by 2": rope(rope_type="linear", factor=2.0),
    "YaRN by 4": rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=8192),
    "Llama 3's scaling by 8": rope(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    ),
    "epsilon of norms 0.001": lambda config: setattr(config, "rms_norm_eps", 1e-3),
}


def measure(gguf: Path, names: list[str]) -> None:
    """Print the mean divergence of a file after each of the named changes."""
    expected = predictions_of(gguf, TEXT, torch.get_num_threads())
    read, _ = read_gguf(gguf)
    for name in names:
        config = copy.deepcopy(read.config)
        CHANGES[name](config)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float16).eval()
        model.load_state_dict(read.state_dict())
        values = divergences(model, expected)
        print(f"{gguf.name}, {name}: mean KL {sum(values) / len(values):.2g} over {len(values)} positions", flush=True)


def main(gguf: Path, types: list[str]) -> None:
    """Measure a file with all changes, and of other types as it is read."""
    measure(gguf, list(CHANGES))
    readers = open_parts(gguf)
    for kind in types:
        stored = GGMLQuantizationType[kind]
        replaced = {
            tensor.name: (quantize(dequantize(tensor.data, tensor.tensor_type).astype(np.float32), stored), stored)
            for reader in readers
            for tensor in reader.tensors
            if len(tensor.shape) > 1
        }
        with tempfile.TemporaryDirectory() as folder:
            write_gguf(Path(folder) / f"{kind}.gguf", readers, replaced)
            measure(Path(folder) / f"{kind}.gguf", ["as read"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
