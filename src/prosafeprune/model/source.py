"""Where a model comes from: a local folder, a hub id or a GGUF file, checked before anything is loaded."""

import os
import shlex
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.output_names import RECORD_FILE
from prosafeprune.files.text_file import read_json_object
from prosafeprune.files.user_path import user_path
from prosafeprune.model.model_files import (
    LAYER_COUNTS,
    require_bounded_config,
    require_loadable_names,
    require_plain_files,
    require_shards,
    require_unquantised,
)

HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.md", "*.py"]
HUB_FILES += ["LICENSE*", "NOTICE*", "*POLICY*", "prosafeprune_answers.jsonl"]
IGNORED_AT_HUB = "consolidated"
"""Beginning of the names of files with the same weights in another form."""
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
BITSANDBYTES = "bitsandbytes"
QUANTISATION_KEYS = ("quantization_config", "compression_config", "quantization")
"""Entries of config.json that describe a quantisation; the last is MLX's."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class ModelSource:
    """A checkpoint folder on this machine, or a GGUF file to be converted into one."""

    name: str
    """The model's name, as the user gave it."""
    path: Path
    """A folder with config.json and safetensors shards, or a .gguf file."""
    revision: str | None = None
    """The commit of a hub model."""
    is_hub: bool = False
    quantisation: str | None = None
    """How its weights are quantised, if they must be dequantised before it can run."""

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return self.path.suffix.lower() == ".gguf"

    @property
    def is_converted(self) -> bool:
        """Whether it must be converted into an ordinary checkpoint before it can run."""
        return self.is_gguf or self.quantisation is not None


def find_source(model: str, revision: str | None = None, *, edited: bool = True) -> ModelSource:
    """Find the model on this machine, downloading it from the hub when it is a hub id.

    A model quantised by bitsandbytes, where that is installed, runs as stored unless its weights are ``edited``.

    Raises:
        InputError: there is no such model, its files cannot be used, or its weights are only pickles.
    """
    path = user_path(model)
    if revision is not None and path.exists():
        raise InputError(f"{model}: is local, and --revision is for hub models. Leave it out.")
    if path.is_dir() and not (path / "config.json").exists():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() == ".gguf")
        if len(found) > 1:
            raise InputError(
                f"{model}: holds {len(found)} GGUF files. Give one of them, such as {path / found[0].name}; of a split "
                "model, any part."
            )
        path = found[0] if found else path
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise InputError(f"{model}: is a file, but not a .gguf. Give a model folder, a hub id or a .gguf file.")
        return ModelSource(model, path)
    if path.is_dir():
        return ModelSource(model, path, quantisation=check_checkpoint_folder(path, model, edited=edited))
    if path.exists():
        raise InputError(f"{model}: is neither a folder nor a regular file. Give a model folder, a hub id or a .gguf.")
    require_local_or_hub(model)
    folder = fetch_from_hub(model, revision)
    try:
        quantisation = check_checkpoint_folder(folder, model, edited=edited)
    except InputError as error:
        if hub_is_reachable():
            raise
        raise InputError(
            f"{error} There is no network, so only the files in the hub's cache were read; some may be missing there."
        ) from error
    commit = folder.name if folder.parent.name == "snapshots" else revision
    return ModelSource(model, folder, revision=commit, is_hub=True, quantisation=quantisation)


def find_unquantised(model: str) -> ModelSource:
    """Find a model that runs from its folder as it is. Raises InputError as :func:`find_source`, or if it cannot."""
    source = find_source(model)
    if source.is_converted:
        kind = "is a GGUF file" if source.is_gguf else f"is quantised ({source.quantisation})"
        raise InputError(
            f"{model}: {kind}, and a judge is read from an unquantised folder. Serve it: --judge-endpoint."
        )
    return source


def require_local_or_hub(model: str) -> None:
    """Raise InputError when there is no such folder or file, and the name cannot be that of a hub model."""
    if not user_path(model).exists() and not is_hub_id(model):
        raise InputError(f"{model}: no such folder or file. Check the path.")


def is_hub_id(model: str) -> bool:
    """Return whether a name that is not a local path can be the id of a hub model."""
    return model.count("/") <= 1 and not model.startswith((".", "/", "~")) and not model.lower().endswith(".gguf")


def fetch_from_hub(model: str, revision: str | None, *, weights: bool = True) -> Path:
    """Return the folder of a hub model or adapter, downloading missing files. Raises InputError when that fails.

    Without ``weights``, the folder has only those shards that were there before.
    """
    from huggingface_hub import snapshot_download

    # Without a network, the client would retry for half a minute before it looks into its cache.
    offline: dict[str, Any] = {} if hub_is_reachable() else {"local_files_only": True}
    try:
        ignored = [f"{IGNORED_AT_HUB}*", "*/*", *([] if weights else ["*.safetensors"])]
        return Path(
            snapshot_download(model, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=ignored, **offline)
        )
    except Exception as error:
        reason = "no network, and it is not in the hub's cache" if offline else first_line(error)
        raise InputError(
            f"{model}: no such local folder, and the download from the hub failed ({reason}). Check the "
            "name; for a gated model accept its terms and set HF_TOKEN; without a network, download it elsewhere and "
            "give the folder."
        ) from error


def hub_is_reachable() -> bool:
    """Return whether the hub's name can be resolved, or a proxy is set that may resolve it."""
    from huggingface_hub import constants

    if any(os.environ.get(name) for name in PROXIES):
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def early_config(model: str, revision: str | None) -> dict[str, Any] | None:
    """Return a model's config.json, without downloading the weights of a hub model.

    None if it cannot be read this way, as for a GGUF; :func:`find_source` reports what is wrong with a model.
    """
    folder = user_path(model)
    if folder.exists() or not is_hub_id(model):
        return read_config(folder, model) if (folder / "config.json").is_file() else None
    if not hub_is_reachable():
        return None
    from huggingface_hub import hf_hub_download

    try:
        return read_config(Path(hf_hub_download(model, "config.json", revision=revision)).parent, model)
    except Exception:  # noqa: BLE001  network, access, no such model
        return None


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config.json of a model that reads images says of its text model; empty for other models."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else {}


def layer_count(config: Mapping[str, Any]) -> int | None:
    """Return the number of decoder layers that a config.json names, or None when it has no such entry."""
    known = {**config, **text_config(config)}
    found = next((known[name] for name in LAYER_COUNTS if name in known), None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Return config.json as it is on disk. Raises InputError when it is missing, broken or too large."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: has no config.json, so it is not a Hugging Face model folder. Check the path.")
    config = read_json_object(folder / "config.json", "model config")
    require_bounded_config(config, name)
    return config


def is_adapter_folder(folder: Path) -> bool:
    """Return whether a folder is an adapter: some of them also hold the base's config, but no weights of a model."""
    weights = {file.name for file in folder.glob("*.safetensors")} - {ADAPTER_WEIGHTS}
    return (folder / "adapter_config.json").is_file() and not weights


def check_checkpoint_folder(folder: Path, name: str, *, edited: bool) -> str | None:
    """Return how a checkpoint is quantised if it must be dequantised to run or to be edited, else None.

    Raises InputError unless the folder is a safetensors checkpoint.
    """
    if (folder / "adapter_config.json").exists():
        remedy = "Merge it into its base first and give the merged folder."
        if (folder / RECORD_FILE).exists():  # what other tools merge has no record of the refusals that were lost
            remedy = f"Make the model first: prosafeprune apply {shlex.quote(name)} BASE_MODEL -o MERGED."
        raise InputError(f"{name}: is an adapter, not a model. {remedy}")
    config = read_config(folder, name)
    require_plain_files(folder, name)
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
            raise InputError(
                f"{name}: holds its weights as pickles only, which can run code when loaded. Convert them to "
                "safetensors (save_pretrained in a sandbox) or use a revision that has them."
            )
        raise InputError(
            f"{name}: holds no .safetensors file, and weights in pickles are not used. Get or make safetensors."
        )
    require_shards(folder, name)
    method = quantisation_of(config)
    if method is None:  # a quantised file may have any name, and is converted
        require_loadable_names(folder, name)
        require_unquantised(folder, name)
    runs_as_stored = method == BITSANDBYTES and not edited and find_spec(BITSANDBYTES) is not None
    return None if runs_as_stored else method


def quantisation_of(config: Mapping[str, Any]) -> str | None:
    """Return the quantisation method that a config.json names, or None when the weights are not quantised.

    MLX names none, and is recognised by its specific entries.
    """
    settings = quantisation_settings(config)
    if not settings:
        return None
    is_mlx = "quant_method" not in settings and {"group_size", "bits"} <= settings.keys()
    return "mlx" if is_mlx else str(settings.get("quant_method", "unknown"))


def quantisation_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config.json says of the quantisation of the weights; empty when they are not quantised."""
    for settings in (config, text_config(config)):
        for key in QUANTISATION_KEYS:
            if settings.get(key):
                return dict(settings[key]) if isinstance(settings[key], dict) else {"quant_method": "unknown"}
    return {}
