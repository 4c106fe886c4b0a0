"""A GGUF file as an ordinary checkpoint folder.

Two traps. ``from_pretrained`` must be told to dequantise, or the result cannot be saved. And a GGUF may store the head
apart from the embeddings of a model that ties them, quantised differently: both copies are kept, as the file has them,
and the written config says that they are not tied, so that a reload uses the head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.chat import end_of_turn_ids
from prosafeprune.progress import Reporter


def convert_gguf(gguf: Path, folder: Path, reporter: Reporter) -> None:
    """Write the model in ``gguf`` into the existing, empty ``folder`` as float16 safetensors, tokenizer and config.

    Raises:
        InputError: the file is not a GGUF of an architecture that transformers can read.
    """
    with reporter.stage("Converting the GGUF", 2) as advance:
        model, tokenizer = read_gguf(gguf)
        advance(1)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        advance(1)
    if not model.config.get_text_config().tie_word_embeddings:
        reporter.note("The GGUF stores the output head apart from the embeddings; both are kept.")


def converted_bytes(gguf: Path) -> int:
    """Return how large the float16 weights of a GGUF will be on disk.

    Raises:
        InputError: it is no GGUF, or is cut short.
    """
    from gguf import GGUFReader

    _require_gguf(gguf)
    try:
        return 2 * sum(int(tensor.n_elements) for tensor in GGUFReader(gguf).tensors)
    except Exception as error:
        raise InputError(f"{gguf}: could not be read as GGUF ({' '.join(str(error).split())[:200]}).") from error


def _require_gguf(gguf: Path) -> None:
    with gguf.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"{gguf}: does not begin like a GGUF file. Fetch it again.")


def read_gguf(gguf: Path) -> tuple[Any, Any]:
    """Return the model in ``gguf``, dequantised to float16, and its tokenizer.

    Raises:
        InputError: the file is not a GGUF of an architecture that transformers can read.
    """
    import torch
    import transformers
    from transformers.utils.quantization_config import GgufConfig

    _require_gguf(gguf)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            dtype=torch.float16,
            quantization_config=GgufConfig(dequantize=True),
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{gguf}: could not be read as a GGUF model ({reason}).") from error
    # The file's metadata names one end token; the chat template may end turns with another.
    model.generation_config.eos_token_id = end_of_turn_ids(tokenizer, model.generation_config.eos_token_id)
    return model, tokenizer
