"""The files of a foreign model: plain files inside its folder, with sizes within bounds, before any of them is used."""

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.files.text_file import MAX_JSON_BYTES, read_json_object
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.text import data_size

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
MAX_LAYERS = 10_000
"""Maximum layers, experts or heads: transformers makes objects or lists for each of them before it looks at the
weights."""
MAX_INTEGER = 2**40
MAX_DEPTH = 50
COUNTED = {"layer", "expert", "head", "depth", "block", "group", "label", "beam"}
NOT_COUNTED = {"dim", "size", "id", "length", "width", "scale", "token"}
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Entries of config.json that hold the number of decoder layers."""
EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Entries that hold the number of experts of a layer."""
AT_LEAST_ONE = {*LAYER_COUNTS, "max_position_embeddings", "n_positions"}
POSITIVE = {"rope_theta", "factor"}
"""Settings of rotary positions: at 0 or infinity, all positions are the same."""
IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
"""Endings of config entries that may name a kernel on the hub, whose code transformers would download and run."""
MAX_BYTES = MAX_JSON_BYTES
"""Maximum bytes of a file other than weights: libraries read some of these complete, several times over."""
FILE_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model", ".md", ".py"}
OTHER_WEIGHTS = {
    *(".safetensors", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npz", ".npy", ".bak", ".old"),
    *(".gguf", ".h5", ".keras", ".pb", ".ot", ".msgpack", ".onnx", ".onnx_data", ".tflite", ".mlmodel", ".tar", ".zip"),
}
"""Endings of files that may hold weights of the base model, and are not copied."""
QUANTISED = (".qweight", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".SCB", ".absmax")
"""Endings of the names of tensors that only quantised models have."""
IGNORED_FOLDERS = {".git", ".cache", "__pycache__"}


def require_plain_files(folder: Path, name: str) -> None:
    """Raise InputError when something in a model folder is not a regular file that can be read, or a folder of such.

    Links may lead to files of the model (the hub's cache is made of them) and to weights, not to folders: they would be
    followed when the model's files are copied. A device would be copied until the disk is full, and a pipe would be
    waited on for ever.
    """
    for where, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if inner not in IGNORED_FOLDERS]
        for inner in folders:
            path = Path(where) / inner
            if path.is_symlink():
                raise InputError(f"{name}: {path.relative_to(folder)} is a link to a folder. Remove it.")
            if path.suffix in FILE_SUFFIXES:
                raise InputError(f"{name}: {path.relative_to(folder)} is a folder, not a file. Fetch the model again.")
        for file in files:
            path = Path(where) / file
            try:
                found = path.stat()
            except OSError as error:
                raise InputError(
                    f"{name}: {path.relative_to(folder)} is a broken link. Fetch the model again."
                ) from error
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{name}: {path.relative_to(folder)} is not a regular file. Remove it.")
            if not os.access(path, os.R_OK):
                raise InputError(f"{name}: {path.relative_to(folder)} cannot be read. Change its permissions.")
            if found.st_size > MAX_BYTES and path.suffix in FILE_SUFFIXES - {".safetensors"}:
                raise InputError(
                    f"{name}: {path.relative_to(folder)} has {data_size(found.st_size)}, more than any model's. Fetch "
                    "the model again, or remove the file."
                )
            if not _may_be_read(path, folder):
                raise InputError(
                    f"{name}: {path.relative_to(folder)} is a link to a file elsewhere, which would be copied into "
                    "outputs. Put a copy in its place."
                )


def _may_be_read(path: Path, folder: Path) -> bool:
    """Return whether a file is inside its model's folder, or a link to weights, or into the hub's cache.

    A foreign folder may hold a link to a person's own file, which would be published with the pruned model.
    """
    if not path.is_symlink() or path.suffix == ".safetensors":
        return True
    target, real = path.resolve(), folder.resolve()
    return target.is_relative_to(real) or target.is_relative_to(real.parent.parent / "blobs")


def require_shards(folder: Path, name: str) -> None:
    """Raise InputError when the shard index, if it counts, names anything but safetensors files in the folder."""
    if (folder / SINGLE_FILE).exists() or not (folder / INDEX).is_file():
        return
    for shard in index_shards(folder):
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise InputError(f"{name}: {INDEX} names {json.dumps(shard)}, not a file of the folder. Fetch it again.")
        if not (folder / shard).is_file():
            raise InputError(f"{name}: {shard} is missing, which {INDEX} names. Fetch the model again.")
    index = read_json_object(folder / INDEX, "shard index")
    if not isinstance(index.get("metadata"), dict):
        raise InputError(f"{folder / INDEX}: has no metadata, which loaders need. Fetch the file again.")
    held = {shard: read_shard_header(folder / shard).tensors.keys() for shard in set(index["weight_map"].values())}
    absent = sorted(tensor for tensor, shard in index["weight_map"].items() if tensor not in held[shard])
    if absent:
        few = "1 tensor that its shard does not hold"
        count = few if len(absent) == 1 else f"{len(absent)} tensors that their shards do not hold"
        raise InputError(f"{name}: {INDEX} names {count}: {absent[0][:80]!r}. Fetch the model again.")


def require_loadable_names(folder: Path, name: str) -> None:
    """Raise InputError when neither model.safetensors nor an index says which files are the model: nothing loads it."""
    if not (folder / SINGLE_FILE).exists() and not (folder / INDEX).exists():
        raise InputError(f"{name}: has neither model.safetensors nor {INDEX}. Fetch the model again.")


def require_unquantised(folder: Path, name: str) -> None:
    """Raise InputError when tensors of a model are quantised, of which its config.json says nothing.

    Early GPTQ models have their settings in quantize_config.json alone.
    """
    for file in shard_files(folder):
        for tensor in read_shard_header(file).tensors:
            if tensor.endswith(QUANTISED):
                raise InputError(
                    f"{name}: {tensor[:80]!r} is part of a quantised matrix, and config.json has no "
                    "quantization_config that says how to read it. Add it there, or give the unquantised model."
                )


def index_shards(folder: Path) -> list[str]:
    """Return the names of the shards in a folder's index, sorted. Raises InputError when it is not such an index."""
    named = read_json_object(folder / INDEX, "shard index").get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(file, str) and len(file) <= 255 for file in named.values()):
        raise InputError(f"{folder / INDEX}: has no map from tensors to shards. Fetch the file again.")
    return sorted(set(named.values()))


def shard_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder that make up its model: model.safetensors, or those of the index.

    Raises InputError when the index is damaged.
    """
    single = folder / SINGLE_FILE
    if single.exists():
        return [single]
    if (folder / INDEX).exists():
        return [folder / name for name in index_shards(folder)]
    return sorted(folder.glob("*.safetensors"))


def require_bounded_config(config: dict[str, Any], name: str) -> None:
    """Raise InputError if a number in a model's config is NaN or out of range, or the config names code of the hub."""
    waiting: list[tuple[str, Any, int]] = [("", config, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InputError(f"{name}: its config.json is nested too deep. Fetch it again.")
        if key.endswith(IMPLEMENTATIONS) and "/" in json.dumps(value):
            raise InputError(
                f"{name}: {key} in its config.json names code on the hub, which is not run. Remove the entry."
            )
        if isinstance(value, float) and math.isnan(value):  # infinity is a time limit of some models
            raise InputError(f"{name}: its config.json says {key} = NaN. Fetch it again.")
        if isinstance(value, int | float) and (
            (key in AT_LEAST_ONE and value < 1) or (key in POSITIVE and not 0 < value < math.inf)
        ):
            raise InputError(f"{name}: its config.json says {key} = {str(value)[:20]}, which no model has. Correct it.")
        if isinstance(value, dict):
            waiting += [(str(setting), inner, depth + 1) for setting, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) > (MAX_LAYERS if _is_count(key) else MAX_INTEGER):
            digits = str(value) if abs(value) < 10**20 else f"a number of {len(str(abs(value)))} digits"
            raise InputError(f"{name}: its config.json says {key} = {digits}, more than any model has. Fetch it again.")


def checkpoint_bytes(folder: Path) -> int:
    """Return the size of a checkpoint folder, all of whose files can be copied: of its weights in one form.

    Raises:
        InputError: a pipe, a device, a dangling link or a link to an enclosing folder is among them.
    """
    size, shards = 0, set(shard_files(folder))
    for file in folder.rglob("*"):
        if IGNORED_FOLDERS.intersection(file.relative_to(folder).parts):
            continue
        if file.is_file():
            is_copied = file in shards or file.suffix.lower() not in OTHER_WEIGHTS
            size += file.stat().st_size if is_copied else 0
        elif not file.is_dir() or (file.is_symlink() and folder.resolve().is_relative_to(file.resolve())):
            raise InputError(f"{file}: is not a file or folder that can be copied. Remove it from the model's folder.")
    return size


def _is_count(key: str) -> bool:
    words = {word.rstrip("s") for word in key.lower().split("_")}
    return not words.isdisjoint(COUNTED) and words.isdisjoint(NOT_COUNTED)
