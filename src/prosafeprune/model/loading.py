"""A model and its tokenizer, ready to run."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import PreTrainedModel

from prosafeprune.errors import InputError, first_line
from prosafeprune.model.chat_template import (
    end_of_turn_ids,
    read_chat_template,
    require_chat_template,
    set_system_prompt,
    set_thinking,
)
from prosafeprune.model.device_placement import avoid_cudnn_attention, choose_device, device_name, place_weights
from prosafeprune.model.loading_checks import require_as_stored, require_runs, require_stored_once
from prosafeprune.model.model_files import shard_files
from prosafeprune.model.quantised_copy import (
    BITS_IN_WORDS,
    Load,
    quantisation_config,
    require_blocks,
    return_freed_memory,
)
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import quantisation_of, read_config
from prosafeprune.progress import Reporter

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class LoadedModel:
    """A causal language model in memory with what is needed to prompt it."""

    name: str
    folder: Path
    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    """Where inputs go and outputs come back: the first device of a model spread over several GPUs."""
    stored_dtype: torch.dtype
    """The dtype of the weights on disk."""
    run_dtype: torch.dtype
    """The dtype the model runs in."""
    end_ids: list[int]
    """Token ids that end an answer."""
    load: Load | None = field(default=None, kw_only=True)
    """What the linear layers were quantised to as they were loaded; None when they are as stored."""

    @property
    def runs_in(self) -> str:
        """The dtype it runs in, with the bits of a quantised copy."""
        return dtype_name(self.run_dtype) if self.load is None else f"{dtype_name(self.run_dtype)}, {self.load}"

    @property
    def device_name(self) -> str:
        """The device's type, with the name of the GPU and, if there are several, their number."""
        count = len({parameter.device for parameter in self.model.parameters()})
        return device_name(self.device) if count < 2 else f"{device_name(self.device)}, {count} GPUs"


def load_model(
    folder: Path,
    name: str,
    reporter: Reporter,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    system: str | None = None,
    thinking: str = "off",
    chat: bool = True,
    load: Load | None = None,
) -> LoadedModel:
    """Load a checkpoint folder, by default in its stored dtype and on the best device available.

    A model that is too large for one GPU is spread over all of them, with hooks that move each layer's inputs. A model
    that is not for ``chat`` has its own raw prompt and needs no chat template. The ``system`` prompt, if any, comes
    before every prompt.

    ``thinking`` is that of :func:`~prosafeprune.model.chat_template.set_thinking`. With ``load``, linear layers are
    quantised as they are read.

    float16 weights on a CPU run in bfloat16 or float32 instead, since CPUs have no fast float16; what is written later
    is still computed from the stored weights.

    Raises:
        InputError: unknown architecture, no chat template, tensors that are missing, there twice, of layers that the
            config leaves out or not finite, an unusable device or dtype, no room on all GPUs together, or ``load``
            without bitsandbytes, or with rows that are no blocks.
    """
    chosen_device = choose_device(device)
    avoid_cudnn_attention(chosen_device)
    stored = stored_dtype(folder)
    tokenizer = load_tokenizer(folder, name, trust_remote_code=trust_remote_code, chat=chat, system=system)
    if chat and set_thinking(tokenizer, thinking, name):
        state = "off, and for half of the prompts on" if thinking == "both" else thinking
        reporter.note(f"The chat template can switch thinking, which is {state} (--thinking).")
    run_dtype = choose_dtype(dtype, stored, chosen_device)
    make_meta = partial(make_meta_model, folder, name, trust_remote_code=trust_remote_code)
    meta = make_meta()
    require_stored_once(meta, folder, name)
    copied = {} if load is None else _copied_to(load, meta, folder, name, run_dtype)
    device_map = place_weights(device, chosen_device, folder, name, run_dtype, make_meta, is_copied=bool(copied))
    options = {"dtype": run_dtype, "device_map": device_map, "trust_remote_code": trust_remote_code, **copied}
    with reporter.stage("Loading the model", 1) as advance:
        model = _read_weights(folder, name, options, reporter)
        advance(1)
    require_runs(model, name, dtype_name(run_dtype))
    if load is not None:
        return_freed_memory()
    known = model.generation_config.eos_token_id if model.generation_config is not None else None
    end_ids = end_of_turn_ids(tokenizer, known)
    loaded = LoadedModel(name, folder, model, tokenizer, chosen_device, stored, run_dtype, end_ids, load=load)
    _note_how_it_runs(loaded, device_map, reporter)
    return loaded


def _copied_to(load: Load, meta: Any, folder: Path, name: str, run_dtype: torch.dtype) -> dict[str, Any]:
    """Return the loading options of a quantised copy. Raises InputError when there can be none of this model."""
    if quantisation_of(read_config(folder, name)) is not None:
        raise InputError(f"{name}: is quantised already. Leave out --load.")
    config = quantisation_config(load, run_dtype)
    require_blocks(meta, config, name)
    return {"quantization_config": config}


def _note_how_it_runs(loaded: LoadedModel, device_map: Mapping[str, Any] | None, reporter: Reporter) -> None:
    if loaded.run_dtype != loaded.stored_dtype:
        stored, run = dtype_name(loaded.stored_dtype), dtype_name(loaded.run_dtype)
        reporter.note(f"The weights are stored as {stored} and run as {run}.")
    if loaded.load is not None:
        reporter.note(f"The matrices of linear layers run as a copy in {BITS_IN_WORDS[loaded.load]}.")
    gpus = len(set(device_map.values())) if device_map is not None else 0
    if gpus > 1:
        reporter.note(f"The model is spread over {gpus} GPUs.")


def _read_weights(folder: Path, name: str, options: Mapping[str, Any], reporter: Reporter) -> PreTrainedModel:
    """Return the model with the weights of a checkpoint folder, for inference. Raises InputError unless all fit."""
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=options["trust_remote_code"])
        model, found = automatic_class(config).from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # their names are in what is found, and refused below
            **options,
        )
    except Exception as error:
        raise cannot_load(name, error) from error
    model.eval()
    model.requires_grad_(False)
    require_as_stored(model, found, name, reporter)
    return_logits_alone(model)
    return cast(PreTrainedModel, model)


def load_tokenizer(
    folder: Path, name: str, *, trust_remote_code: bool = False, chat: bool = True, system: str | None = None
) -> Any:
    """Return the tokenizer of a checkpoint folder. Raises InputError when it cannot be read, or cannot ``chat``."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Rust panics in tokenizers derive from BaseException
        raise InputError(f"{name}: transformers cannot read it ({first_line(error)}).{_remedy(error)}") from error
    if chat:
        read_chat_template(tokenizer, folder)
        require_chat_template(tokenizer, name)
    set_system_prompt(tokenizer, system)
    return tokenizer


def return_logits_alone(model: Any) -> None:
    """Reset the config's options that change the form of a model's outputs, or add states and attentions."""
    for config in {
        id(found): found for found in (getattr(module, "config", None) for module in model.modules())
    }.values():
        for setting, value in (("return_dict", True), ("output_hidden_states", False), ("output_attentions", False)):
            if getattr(config, setting, value) != value:
                setattr(config, setting, value)


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the sha256 of what a tokenizer makes of texts: a model's own hash is of its weights and config alone."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    known = fast.to_str() if fast is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(known.encode(errors="surrogatepass")).hexdigest()


def make_meta_model(folder: Path, name: str, *, trust_remote_code: bool = False) -> Any:
    """Return the model of a checkpoint folder on the meta device: with the shapes of its weights, without values.

    Raises:
        InputError: unknown architecture.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            return automatic_class(config).from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise InputError(f"{name}: transformers cannot read it ({first_line(error)}).{_remedy(error)}") from error


def automatic_class(config: Any) -> Any:
    """Return the auto class that loads a checkpoint of this config: models that read images may have their own."""
    is_listed = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if not is_listed and type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def choose_dtype(dtype: str, stored: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype to run in: the one named or, for ``auto``, the stored one unless it is slow on the device."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise InputError(f"--dtype {dtype}: unknown. Choose auto, {', '.join(DTYPES)}.")
        return DTYPES[dtype]
    if stored == torch.float16 and device.type == "cpu":
        # On an EPYC with AVX512-BF16: 430 GFLOP/s in bfloat16, 165 in float32, 44 in float16.
        return (
            torch.bfloat16
            if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            else torch.float32
        )
    return stored


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``bfloat16`` for ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.")


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the dtype that most weights on disk have; the one in config.json may be missing or wrong.

    For a quantised model it is the dtype of the weights that are not quantised. Only headers are read: a file larger
    than memory cannot always be mapped.

    Raises InputError when a shard cannot be read.
    """
    names = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    sizes = dict.fromkeys(names, 0)
    for file in shard_files(folder):  # others may be a variant in another dtype
        for entry in read_shard_header(file).tensors.values():
            if entry.dtype in names:
                sizes[entry.dtype] += math.prod(entry.shape)
    return names[max(sizes, key=lambda name: sizes[name])]


def cannot_load(name: str, error: Exception) -> InputError:
    """Return the error to raise when transformers cannot make the model, with a remedy."""
    return InputError(f"{name}: could not be loaded ({first_line(error)}).{_remedy(error)}")


def _remedy(error: BaseException) -> str:
    if "trust_remote_code" in str(error):
        return " It needs its own code: read that code, then pass --trust-remote-code."
    if "model type" in str(error):
        return " Upgrade transformers, or check model_type in its config.json."
    return ""
