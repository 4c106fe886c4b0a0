"""Adapters: small weight files that change a base model named in them."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import read_json_object
from prosafeprune.files.user_path import user_path
from prosafeprune.model.adapter_config import require_usable
from prosafeprune.model.hub_headers import source_without_weights
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.loading_checks import require_finite
from prosafeprune.model.model_files import require_plain_files
from prosafeprune.model.model_hash import file_hash, model_hash
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import (
    ADAPTER_WEIGHTS,
    ModelSource,
    fetch_from_hub,
    find_source,
    is_adapter_folder,
    is_hub_id,
)
from prosafeprune.progress import SILENT, Reporter

KEY_PREFIX = "base_model.model."
"""Prefix of every tensor name in an adapter, before the name of the base's module."""
CONFIG = "adapter_config.json"
REFUSED_SETTINGS = ("megatron_config", "layer_replication", "alora_invocation_tokens")
"""Settings that import other code, change which layers the base has, or have an effect after certain tokens only."""


@dataclass(frozen=True)
class Subject:
    """A model to run: a checkpoint, with an adapter on it when there is one."""

    name: str
    source: ModelSource
    adapter: Path | None = None

    @cached_property  # reads gigabytes
    def sha256(self) -> str:
        """The checkpoint's hash; with an adapter, both hashes joined by a plus."""
        own = model_hash(self.source.path)
        return f"{own}+{file_hash(self.adapter / ADAPTER_WEIGHTS)}" if self.adapter else own


def find_subject(
    model: str, revision: str | None = None, *, trust_remote_code: bool = False, reporter: Reporter = SILENT
) -> Subject:
    """Find a model, or an adapter with the base model that it names.

    Raises:
        InputError: as :func:`find_source`, for the base too; or an adapter in pickles, truncated, of an unsupported
            kind or without the name of its base; or the code of a base that an adapter names would be run.
    """
    folder = find_folder(model, revision)
    if not is_adapter_folder(folder):
        return Subject(model, find_source(model, revision, edited=False))
    base = _named_base(folder, model, trust_remote_code, reporter)
    return Subject(model, find_source(*base, edited=False), folder)


@contextmanager
def running_without_weights(
    model: str, revision: str | None = None, *, trust_remote_code: bool = False, reporter: Reporter = SILENT
) -> Iterator[ModelSource]:
    """Yield the checkpoint that a model or adapter runs as, for a dry run: of a hub model, the headers of its weights.

    An adapter's own file, which is small, is downloaded.

    Raises:
        InputError: as :func:`find_subject`, or a header cannot be read from the hub.
    """
    folder, base = user_path(model), (model, revision)
    if not folder.exists() and is_hub_id(model):
        folder = fetch_from_hub(model, revision, weights=False)
        if (folder / CONFIG).is_file():
            folder = fetch_from_hub(model, revision)
    if is_adapter_folder(folder):
        base = _named_base(folder, model, trust_remote_code, reporter)
    with source_without_weights(*base, edited=False) as source:
        yield source


def _named_base(folder: Path, model: str, trust_remote_code: bool, reporter: Reporter) -> tuple[str, str | None]:
    """Return name and commit of the base model of an adapter, and report it. Raises InputError."""
    base, base_revision = _base_of(folder, model)
    if trust_remote_code:
        raise InputError(
            f"{model}: is an adapter, and --trust-remote-code would run the code of the base model that it names, "
            f"{base}. Merge it into its base first, and give the merged folder."
        )
    reporter.note(f"{model} is an adapter: its base model is {base}, as its adapter_config.json says.")
    return base, base_revision


def find_folder(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model or adapter, which need not exist; a hub id's is downloaded. Raises InputError."""
    folder = user_path(name)
    return fetch_from_hub(name, revision) if not folder.exists() and is_hub_id(name) else folder


def attach_adapter(loaded: LoadedModel, folder: Path, name: str, *, merged: bool = False) -> None:
    """Put the adapter in ``folder`` onto its base in memory, in the run dtype.

    Args:
        merged: whether to add it to the base's weights, so that the modules are those of a checkpoint.

    Raises:
        InputError: the adapter does not fit: tensors are missing, are unknown to the base, have the wrong shape or are
            not finite, and PEFT would run the base's weights in place of missing ones; or it is to be merged into
            quantised weights.
    """
    from peft import PeftModel

    tensors = read_shard_header(folder / ADAPTER_WEIGHTS).tensors
    keys = set(tensors)
    _require_usable_tensors(folder / ADAPTER_WEIGHTS, name)
    config = read_json_object(folder / CONFIG, "adapter config")
    before = {parameter for parameter, _ in loaded.model.named_parameters(remove_duplicate=False)}
    try:
        require_usable(
            config,
            [tensor.shape for tensor in tensors.values()],
            [module for module, _ in loaded.model.named_modules()],
            before,
        )
        # The LoRA layers replace the base's own inside it, so the object keeps its forward pass.
        adapted: Any = PeftModel.from_pretrained(loaded.model, str(folder), autocast_adapter_dtype=False)
    except Exception as error:
        raise InputError(
            f"{name}: does not fit its base model {loaded.name} ({first_line(error)}). Check the base it names."
        ) from error
    _require_same_keys(adapted, keys, name, loaded.name)
    if merged:
        _merge(adapted, name)
    _settle(loaded)
    loaded.name = name


def _merge(adapted: Any, name: str) -> None:
    """Add the adapter to the weights of its base, whose own modules come back in place of PEFT's."""
    if getattr(adapted.get_base_model(), "hf_quantizer", None) is not None:
        raise InputError(
            f"{name}: its base model is quantised, and the adapter cannot be added to such weights. Merge it into the "
            "base in 16 bits first, and give the merged folder."
        )
    adapted.merge_and_unload()


def insert_adapter(loaded: LoadedModel, config: Any, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Put an adapter that is not on disk onto a base in memory, which may have run already.

    PEFT's own loading asks for the model's state dict, which spoils matrices that bitsandbytes 0.50 repacked at their
    first run on some CPUs.

    Args:
        loaded: the base.
        config: PEFT's, naming the modules and parameters.
        factors: by the name of the module in which PEFT keeps them, ``A`` and ``B`` in its layout.
    """
    from peft import inject_adapter_in_model

    if isinstance(loaded, ReplicatedModel):
        sent = {name: (a.cpu().numpy(), b.cpu().numpy()) for name, (a, b) in factors.items()}
        loaded.replicas.change(partial(_insert_arrays, config=config, arrays=sent))
    inject_adapter_in_model(config, loaded.model)
    for module_name, (a, b) in factors.items():
        layer: Any = loaded.model.get_submodule(module_name)
        for linear, values in ((layer.lora_A["default"], a), (layer.lora_B["default"], b)):
            linear.weight.data = values.to(linear.weight.device)
    _settle(loaded)


@contextmanager
def without_adapter(loaded: LoadedModel) -> Iterator[None]:
    """Switch the adapters of the model in memory off inside the context; replicas keep theirs."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        with switched_off([module for module in loaded.model.modules() if isinstance(module, BaseTunerLayer)]):
            yield
    finally:
        loaded.model.eval().requires_grad_(False)


@contextmanager
def switched_off(layers: Collection[Any]) -> Iterator[None]:
    """Leave the adapters of PEFT's layers out inside the context."""
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _insert_arrays(loaded: LoadedModel, config: Any, arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    factors = {name: (torch.from_numpy(a), torch.from_numpy(b)) for name, (a, b) in arrays.items()}
    insert_adapter(loaded, config, factors)


def _settle(loaded: LoadedModel) -> None:
    for parameter_name, parameter in loaded.model.named_parameters():
        if ".lora_" in parameter_name:  # the base's own matrices may be quantised, and then keep their dtype
            parameter.data = parameter.data.to(loaded.run_dtype)
    loaded.model.eval().requires_grad_(False)


def _require_usable_tensors(file: Path, name: str) -> None:
    """Raise InputError unless all tensors of an adapter are finite numbers: factors, and whole matrices beside them."""
    try:
        with safe_open(file, framework="pt") as stream:
            for key in stream.keys():  # noqa: SIM118 - not a dictionary
                tensor = stream.get_tensor(key)
                if not tensor.is_floating_point():
                    raise InputError(f"{name}: {key} is stored as integers, which cannot be weights. Fetch it again.")
                require_finite([(key, tensor.float())], name)
    except SafetensorError as error:
        raise InputError(f"{file}: cannot be read as safetensors ({first_line(error)}). Fetch it again.") from error


def _require_same_keys(adapted: Any, keys: set[str], name: str, base: str) -> None:
    """Raise InputError unless the file's tensors are those of the adapter that its config describes."""
    from peft import get_peft_model_state_dict

    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    missing = sorted(expected - keys)
    # Embeddings and heads saved beside the factors, because the tokenizer grew or they have factors themselves, replace
    # those of the base.
    ends = tuple(f"{table}{inner}.weight" for table in ("embed_tokens", "lm_head") for inner in ("", ".base_layer"))
    replaced = {key for key, _ in adapted.named_parameters(remove_duplicate=False) if key.endswith(ends)}
    unknown = sorted(keys - expected - replaced)
    if missing or unknown:
        what = f"lacks {len(missing)} tensors" if missing else f"has {len(unknown)} tensors unknown to it"
        raise InputError(
            f"{name}: does not fit its base model {base}: it {what}, such as {(missing or unknown)[0]}. Check the base "
            "it names, or make it again."
        )


def _base_of(folder: Path, name: str) -> tuple[str, str | None]:
    require_plain_files(folder, name)
    config = read_json_object(folder / CONFIG, "adapter config")
    if config.get("peft_type") != "LORA":
        kind = str(config.get("peft_type"))[:40]
        raise InputError(f"{name}: is an adapter of type {kind}; only LoRA adapters can be run.")
    refused = [setting for setting in REFUSED_SETTINGS if config.get(setting)]
    if refused:
        raise InputError(f"{name}: its adapter_config.json sets {refused[0]}, which is not supported. Merge it first.")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(f"{name}: has no {ADAPTER_WEIGHTS}, and weights in pickles are not used. Get safetensors.")
    read_shard_header(folder / ADAPTER_WEIGHTS)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not base or not isinstance(base, str) or not isinstance(revision, str | None):
        raise InputError(f"{name}: its adapter_config.json does not name the base model. Write it there.")
    if base.startswith("..") and (folder / base).exists():  # as prune writes it
        base = os.path.normpath(folder.resolve() / base)
    # For a base that is now on this machine, a commit of the hub means nothing.
    return base, None if user_path(base).exists() else revision
