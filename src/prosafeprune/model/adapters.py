"""Adapters: small weight files that change a base model named in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prosafeprune.errors import InputError
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.replicas import ReplicatedModel
from prosafeprune.model.source import ModelSource, fetch_from_hub, file_hash, find_source, is_hub_id, model_hash

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Subject:
    """A model to run: a checkpoint, with an adapter on it when there is one."""

    name: str
    source: ModelSource
    adapter: Path | None = None

    @cached_property  # gigabytes are read for it
    def sha256(self) -> str:
        """The checkpoint's hash; with an adapter, both hashes joined by a plus."""
        own = model_hash(self.source.path)
        return f"{own}+{file_hash(self.adapter / WEIGHTS)}" if self.adapter else own


def find_subject(model: str, revision: str | None = None) -> Subject:
    """Find a model or an adapter, with the base model that the adapter names.

    Raises:
        InputError: as :func:`find_source`, for the base too; or an adapter in pickles, of an unknown kind or without
            the name of its base.
    """
    folder = find_folder(model, revision)
    if not (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
        source = find_source(model, revision, edited=False)
        return Subject(model, source)
    base, base_revision = _base_of(folder, model)
    return Subject(model, find_source(base, base_revision, edited=False), folder)


def find_folder(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model or adapter, which need not exist; a hub id's is downloaded. Raises InputError."""
    folder = Path(name).expanduser()
    return fetch_from_hub(name, revision) if not folder.exists() and is_hub_id(name) else folder


def attach_adapter(loaded: LoadedModel, folder: Path, name: str) -> None:
    """Put the adapter in ``folder`` onto its base in memory, in the dtype that runs. Raises InputError."""
    from peft import PeftModel

    try:
        # The LoRA layers take the place of the base's own inside it, so the object keeps its forward pass.
        PeftModel.from_pretrained(loaded.model, str(folder), autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{name}: does not fit its base model {loaded.name} ({reason}).") from error
    _settle(loaded)
    loaded.name = name


def insert_adapter(loaded: LoadedModel, config: Any, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Put an adapter that is on no disk onto a base in memory which may have run already.

    PEFT's way of loading asks for the model's state, at which bitsandbytes 0.50 spoils matrices that it packed anew at
    their first run on some CPUs.

    Args:
        loaded: the base.
        config: PEFT's, naming the modules.
        factors: by module name ``A (rank, d_in)`` and ``B (d_out, rank)``.
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


def _insert_arrays(loaded: LoadedModel, config: Any, arrays: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    factors = {name: (torch.from_numpy(a), torch.from_numpy(b)) for name, (a, b) in arrays.items()}
    insert_adapter(loaded, config, factors)


def _settle(loaded: LoadedModel) -> None:
    for parameter_name, parameter in loaded.model.named_parameters():
        if ".lora_" in parameter_name:  # the base's own matrices may be quantised, and then have no dtype to change
            parameter.data = parameter.data.to(loaded.run_dtype)
    loaded.model.eval().requires_grad_(False)


def _base_of(folder: Path, name: str) -> tuple[str, str | None]:
    try:
        config: Any = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: its adapter_config.json is not valid JSON ({error}). Fetch it again.") from error
    if config.get("peft_type") != "LORA":
        raise InputError(f"{name}: is an adapter of the kind {config.get('peft_type')}; only LoRA adapters can be run.")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{name}: has no {WEIGHTS}, and weights in pickles are not used. Get or make safetensors.")
    base = config.get("base_model_name_or_path")
    if not base:
        raise InputError(f"{name}: its adapter_config.json does not name the base model. Write it there.")
    # A base that has come to lie on this machine is what it is: a commit of the hub says nothing of it.
    return str(base), None if Path(base).expanduser().exists() else config.get("revision")
