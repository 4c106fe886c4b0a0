"""A GGUF file as an ordinary checkpoint folder.

``from_pretrained`` must be asked to dequantise, or the model cannot be saved. A GGUF may store the LM head separately
from the embeddings of a model that ties them, quantised differently: both are kept, and the written config says that
they are not tied. Everything else that transformers' loader drops silently is checked here: the parts of a split
file, tensors (it fills missing ones with random numbers) and, in :mod:`prosafeprune.model.gguf_metadata`, metadata.
"""

from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.chat_template import end_of_turn_ids
from prosafeprune.model.gguf_file import gguf_parts, joined_gguf, open_gguf, short_reason
from prosafeprune.model.gguf_metadata import ROPE_TENSORS, complete_config
from prosafeprune.progress import Reporter


def convert_gguf(gguf: Path, folder: Path, reporter: Reporter) -> None:
    """Write the model in ``gguf`` into the existing, empty ``folder`` as float16 safetensors, tokenizer and config.

    Where llama.cpp is installed, the predictions of the model are compared with its own first.

    Raises:
        InputError: the file is not a complete GGUF of an architecture that transformers can read, llama.cpp reads
            another model in it, or the disk is full.
    """
    from prosafeprune.model.gguf_comparison import COMPARISON_FILE, ask_llama_cpp, compare

    expected = ask_llama_cpp(gguf, reporter)
    comparison = None
    with reporter.stage("Converting the GGUF", 2 if expected is None else 3) as advance:
        model, tokenizer = read_gguf(gguf, folder)
        advance(1)
        if expected is not None:
            comparison = compare(model, tokenizer, expected, gguf)
            advance(1)
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            if comparison is not None:
                (folder / COMPARISON_FILE).write_text(comparison.model_dump_json() + "\n", encoding="utf-8")
        except Exception as error:  # Rust libraries raise other errors for a full disk
            raise InputError(
                f"{folder}: the GGUF could not be converted there ({short_reason(error)}). Free some space."
            ) from error
        advance(1)
    if comparison is not None:
        reporter.note(f"llama.cpp predicts the same tokens from the GGUF ({comparison.describe()}).")
    if not model.config.get_text_config().tie_word_embeddings:
        reporter.note("The GGUF stores the LM head separately from the embeddings; both are kept.")


def converted_bytes(gguf: Path) -> int:
    """Return the disk space that a conversion takes: float16 weights and, of a split file, the parts joined.

    Raises:
        InputError: it is not a GGUF, is truncated, or a part is missing.
    """
    parts = gguf_parts(gguf)
    elements = sum(int(tensor.n_elements) for part in parts for tensor in open_gguf(part).tensors)
    return 2 * elements + (sum(part.stat().st_size for part in parts) if len(parts) > 1 else 0)


def gguf_shapes(gguf: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return shape and bytes of a GGUF's tensors in float16, by name, from its header; experts are in ``.experts.``.

    Raises:
        InputError: it is not a GGUF, is truncated, or a part is missing.
    """
    return {
        tensor.name.replace("_exps.", ".experts."): (tuple(map(int, tensor.shape[::-1])), 2 * int(tensor.n_elements))
        for part in gguf_parts(gguf)
        for tensor in open_gguf(part).tensors
    }


def gguf_config(gguf: Path) -> dict[str, Any]:
    """Return the model config that transformers makes of a GGUF's metadata.

    Raises InputError when it does not know the architecture.
    """
    import transformers

    first = gguf_parts(gguf)[0]
    try:
        config = transformers.AutoConfig.from_pretrained(str(first.parent), gguf_file=first.name)
    except Exception as error:  # transformers' reader raises many kinds
        raise InputError(
            f"{gguf}: could not be read as a GGUF model ({short_reason(error)}). Fetch it again."
        ) from error
    found: dict[str, Any] = config.to_dict()
    return found


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

    with joined_gguf(gguf, scratch) as file:
        reader = open_gguf(file)
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
                f"{gguf}: could not be read as a GGUF model ({short_reason(error)}). Fetch it again."
            ) from error
        _require_same_tensors(model, found, {tensor.name for tensor in reader.tensors}, gguf.name)
    # The metadata names one end token; the chat template may end turns with another.
    model.generation_config.eos_token_id = end_of_turn_ids(tokenizer, model.generation_config.eos_token_id)
    return model, tokenizer


def _require_same_tensors(model: Any, found: dict[str, Any], names: set[str], name: str) -> None:
    """Raise InputError unless the file has exactly the tensors of the model."""
    absent = sorted(map(str, found.get("missing_keys") or ())) + sorted(map(str, found.get("mismatched_keys") or ()))
    unknown = sorted(set(found.get("unexpected_keys") or ()) - ROPE_TENSORS)
    expected = _expected_names(model)
    if expected is not None:
        bare = {tensor.removesuffix(".weight") for tensor in names}
        spared = {"output"} if model.config.get_text_config().tie_word_embeddings else set()
        absent = absent or sorted(expected - bare - spared)
        unknown = sorted(bare - expected - {"output"} - {tensor.removesuffix(".weight") for tensor in ROPE_TENSORS})
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
    return {
        tensor.removesuffix(".weight") for tensor in legacy.get_gguf_hf_weights_map(model, processor_class(config={}))
    }
