"""A GGUF file as an ordinary checkpoint folder.

``from_pretrained`` must be asked to dequantise, or the model cannot be saved. A GGUF may store the LM head separately
from the embeddings of a model that ties them, quantised differently: both are kept, and the written config says that
they are not tied. Everything else that transformers' loader drops silently is checked here: the parts of a split
file, tensors (it fills missing ones with random numbers) and, in :mod:`prosafeprune.model.gguf_metadata`, metadata.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.chat import end_of_turn_ids
from prosafeprune.model.gguf_metadata import ROPE_TENSORS, complete_config
from prosafeprune.progress import Reporter

PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
"""File names of a split GGUF, as llama.cpp's tools write them."""


def convert_gguf(gguf: Path, folder: Path, reporter: Reporter) -> None:
    """Write the model in ``gguf`` into the existing, empty ``folder`` as float16 safetensors, tokenizer and config.

    Raises:
        InputError: the file is not a complete GGUF of an architecture that transformers can read, or the disk is full.
    """
    with reporter.stage("Converting the GGUF", 2) as advance:
        model, tokenizer = read_gguf(gguf, folder)
        advance(1)
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except Exception as error:  # libraries in Rust have errors of their own for a full disk
            raise InputError(
                f"{folder}: the GGUF could not be converted there ({_reason(error)}). Free some space."
            ) from error
        advance(1)
    if not model.config.get_text_config().tie_word_embeddings:
        reporter.note("The GGUF stores the LM head separately from the embeddings; both are kept.")


def converted_bytes(gguf: Path) -> int:
    """Return the disk space that a conversion takes: float16 weights and, of a split file, the parts joined.

    Raises:
        InputError: it is not a GGUF, is truncated, or a part is missing.
    """
    parts = gguf_parts(gguf)
    elements = sum(int(tensor.n_elements) for part in parts for tensor in _open(part).tensors)
    return 2 * elements + (sum(part.stat().st_size for part in parts) if len(parts) > 1 else 0)


def gguf_parts(gguf: Path) -> list[Path]:
    """Return all parts of a GGUF file, in order: itself unless it is one of a split file's.

    Raises:
        InputError: it is not a GGUF, or a part is missing.
    """
    named = PART.match(gguf.name)
    count = int(_open(gguf).fields["split.count"].contents()) if "split.count" in _open(gguf).fields else 1
    if named is None and count > 1:
        raise InputError(
            f"{gguf}: is one of {count} parts of a split GGUF, and the others cannot be found by its name. Restore the "
            "names NAME-00001-of-0000N.gguf, or merge the parts with llama-gguf-split --merge."
        )
    if named is None or (count == 1 and int(named["count"]) == 1):
        return [gguf]
    total = int(named["count"])
    parts = [gguf.with_name(f"{named['stem']}-{i:05}-of-{total:05}.gguf") for i in range(1, total + 1)]
    absent = [part.name for part in parts if not part.is_file()]
    if absent:
        raise InputError(f"{gguf}: is part of a split GGUF, and {len(absent)} parts are missing, such as {absent[0]}.")
    return parts


def read_gguf(gguf: Path, scratch: Path | None = None) -> tuple[Any, Any]:
    """Return the model in ``gguf``, dequantised to float16, and its tokenizer.

    The parts of a split file are joined in a temporary file inside ``scratch``.

    Raises:
        InputError: the file is not a GGUF of an architecture that transformers can read, or it lacks tensors, has
            others than the architecture, or has metadata that the model's config cannot express.
    """
    import torch
    import transformers
    from transformers.utils.quantization_config import GgufConfig

    with _joined(gguf, scratch) as file:
        reader = _open(file)
        try:
            where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            config = complete_config(transformers.AutoConfig.from_pretrained(**where), reader, gguf.name)
            automatic: Any = transformers.AutoModelForCausalLM
            model, found = automatic.from_pretrained(
                **where,
                config=config,
                dtype=torch.float16,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{gguf}: could not be read as a GGUF model ({_reason(error)}). Fetch it again."
            ) from error
        _require_same_tensors(model, found, {tensor.name for tensor in reader.tensors}, gguf.name)
    # The metadata names one end token; the chat template may end turns with another.
    model.generation_config.eos_token_id = end_of_turn_ids(tokenizer, model.generation_config.eos_token_id)
    return model, tokenizer


def _open(gguf: Path) -> Any:
    from gguf import GGUFReader
    from transformers.integrations.gguf.reader import read_gguf_metadata

    with gguf.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"{gguf}: does not begin as a GGUF file does. Fetch it again.")
    try:
        read_gguf_metadata(str(gguf))  # fails at the end of the file, where the other would count on for ever
        return GGUFReader(gguf)
    except Exception as error:
        raise InputError(f"{gguf}: could not be read as GGUF ({_reason(error)}). Fetch it again.") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


@contextmanager
def _joined(gguf: Path, scratch: Path | None) -> Iterator[Path]:
    """Yield the file or, if it is split, a temporary one with the metadata of the first part and all tensors."""
    parts = gguf_parts(gguf)
    if len(parts) == 1:
        yield gguf
        return
    from gguf import GGUFValueType, GGUFWriter

    readers = [_open(part) for part in parts]
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".joined-") as folder:
        file = Path(folder) / "joined.gguf"
        writer = GGUFWriter(file, readers[0].fields["general.architecture"].contents())
        for field in readers[0].fields.values():
            if not field.name.startswith(("GGUF.", "split.")) and field.name != "general.architecture":
                inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
        tensors = [tensor for reader in readers for tensor in reader.tensors]
        _require_all_parts(readers[0], len(tensors), gguf)
        for one in tensors:
            writer.add_tensor_info(one.name, one.data.shape, one.data.dtype, one.data.nbytes, one.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for one in tensors:
            writer.write_tensor_data(one.data)
        writer.close()
        yield file


def _require_all_parts(first: Any, found: int, gguf: Path) -> None:
    expected = int(first.fields["split.tensors.count"].contents()) if "split.tensors.count" in first.fields else found
    if found != expected:
        raise InputError(f"{gguf}: its parts have {found} tensors, and the first says {expected}. Fetch them again.")


def _require_same_tensors(model: Any, found: dict[str, Any], names: set[str], name: str) -> None:
    """Raise InputError unless the file has exactly the tensors of the model."""
    absent = sorted(map(str, found.get("missing_keys") or ())) + sorted(map(str, found.get("mismatched_keys") or ()))
    unknown = sorted(set(found.get("unexpected_keys") or ()) - ROPE_TENSORS)
    expected = _expected_names(model)
    if expected is not None:
        bare = {one.removesuffix(".weight") for one in names}
        spared = {"output"} if model.config.get_text_config().tie_word_embeddings else set()
        absent = absent or sorted(expected - bare - spared)
        unknown = sorted(bare - expected - {"output"} - {one.removesuffix(".weight") for one in ROPE_TENSORS})
    if absent:
        raise InputError(
            f"{name}: {len(absent)} tensors are missing, such as {absent[0]}. Fetch the complete model again."
        )
    if unknown:
        raise InputError(
            f"{name}: {len(unknown)} tensors are unknown to transformers' model, such as {unknown[0]}, and would be "
            "lost. Give the original checkpoint in safetensors."
        )


def _expected_names(model: Any) -> set[str] | None:
    """Return the GGUF names of the model's tensors without ``.weight``; None where transformers reports them itself.

    Its older loader takes experts apart and fills those that are missing with zeros, which its own report does not say.
    """
    from transformers import modeling_gguf_pytorch_utils as legacy
    from transformers.integrations.gguf.utils import is_gguf_arch_supported

    architecture = {"qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss"}.get(
        model.config.model_type, model.config.model_type
    )
    if is_gguf_arch_supported(architecture):
        return None
    processor_class: Any = legacy.TENSOR_PROCESSORS.get(architecture, legacy.TensorProcessor)
    return {one.removesuffix(".weight") for one in legacy.get_gguf_hf_weights_map(model, processor_class(config={}))}
