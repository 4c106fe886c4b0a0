"""Adapters: small weight files that change a base model named in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.loading import LoadedModel
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
    folder = Path(model).expanduser()
    if not folder.exists() and is_hub_id(model):
        folder = fetch_from_hub(model, revision)
    if not (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
        source = find_source(model, revision)
        return Subject(model, source)
    base = _base_of(folder, model)
    return Subject(model, find_source(base), folder)


def attach_adapter(loaded: LoadedModel, subject: Subject) -> None:
    """Put the subject's adapter, if it has one, onto its base in memory. Raises InputError when it does not fit."""
    if subject.adapter is None:
        return
    from peft import PeftModel

    try:
        # The LoRA layers take the place of the base's own inside it, so the object keeps its forward pass.
        PeftModel.from_pretrained(loaded.model, subject.adapter, autocast_adapter_dtype=False)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{subject.name}: does not fit its base model {subject.source.name} ({reason}).") from error
    loaded.model.to(loaded.run_dtype).eval().requires_grad_(False)
    loaded.name = subject.name


def _base_of(folder: Path, name: str) -> str:
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
    return str(base)
