"""Pooled inputs kept in the cache, for the next command on the same model with the same prompts.

They are stored by layer and pooling, so that the plan of a search, or other layers after it, need no further pass.
Inputs of experts are not kept: each prompt reaches different experts, and there are many.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.errors import InputError
from prosafeprune.files.cache import folder_of
from prosafeprune.files.staging import write_whole
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.companions import code_hash
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.replicas import ReplicatedModel

ACTIVATIONS = "activations"
"""Folder in the cache."""
MOST_BYTES = 8e9
"""Maximum bytes of all kept inputs; the oldest are removed."""
POOLED_BY = 1
"""Version of the pooling: raise it when pooled inputs change, so that older kept ones are not reused."""
FREE_SHARE = 4
"""Inputs are kept only if this many times their size is free on the disk."""
FLOAT_BYTES = 4


class KeptInputs:
    """The pooled inputs of one model on one list of prompts.

    Args:
        model_sha256: hash of the base model, whose weights ``loaded`` must have.
        batch_size: as asked for; inputs depend on it in the last bits.
    """

    def __init__(
        self, model_sha256: str, loaded: LoadedModel, prompts: Sequence[EncodedPrompt], batch_size: int | str
    ) -> None:
        seen = json.dumps([[prompt.ids, prompt.user_start, prompt.user_end] for prompt in prompts])
        depends_on = {
            "model": model_sha256,
            "prompts": hashlib.sha256(seen.encode()).hexdigest(),
            "device": loaded.device_name,
            "dtype": loaded.runs_in,
            "batch_size": batch_size,
            "replicas": loaded.replicas.size if isinstance(loaded, ReplicatedModel) else 1,
            "versions": [POOLED_BY, version("torch"), version("transformers")],
        }
        code = code_hash(loaded.folder)
        self.folder = folder_of(ACTIVATIONS, depends_on | ({"code": code} if code is not None else {}))

    def read(
        self, anatomy: Anatomy, poolings: Sequence[Pooling], layers: Sequence[int]
    ) -> dict[Pooling, PooledInputs] | None:
        """Return the inputs of all submodules of ``layers``, or None if one is missing or damaged."""
        if anatomy.has_experts:
            return None
        found = {}
        for pooling in poolings:
            by_module: dict[str, torch.Tensor] = {}
            passes = set()
            for layer in layers:
                try:
                    tensors, facts = _read(self._file(pooling, layer))
                    by_module |= {name: tensors[key] for name, key in facts["modules"].items()}
                    passes.add((tuple(facts["batch_sizes"]), facts["prefix_length"]))
                except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    return None
            wanted = {submodule.reads for layer in layers for submodule in anatomy.of_layer(layer)}
            if len(passes) != 1 or not wanted <= by_module.keys():
                return None
            found[pooling] = PooledInputs(by_module, *passes.pop())
        with contextlib.suppress(OSError):
            os.utime(self.folder)  # the last to be removed
        return found

    def write(self, anatomy: Anatomy, collected: dict[Pooling, PooledInputs], layers: Sequence[int]) -> None:
        """Keep the inputs of ``layers``, if there is room; without an error if the cache cannot be written."""
        size = sum(_size(inputs) for inputs in collected.values())
        if anatomy.has_experts or not self._make_room(size):
            return
        for pooling, inputs in collected.items():
            for layer in layers:
                names = dict.fromkeys(submodule.reads for submodule in anatomy.of_layer(layer))
                content = _packed(inputs, list(names))
                try:
                    write_whole(self._file(pooling, layer), content)
                except InputError:
                    return

    def _file(self, pooling: Pooling, layer: int) -> Path:
        return self.folder / f"{pooling.value}-{layer}.safetensors"

    def _make_room(self, size: int) -> bool:
        """Make the folder, remove the oldest others beyond ``MOST_BYTES``, and return whether ``size`` bytes fit."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if size > MOST_BYTES or shutil.disk_usage(self.folder).free < FREE_SHARE * size:
                return False
            others = sorted(
                (folder for folder in self.folder.parent.iterdir() if folder != self.folder),
                key=lambda folder: folder.stat().st_mtime,
            )
            total = size + _stored(self.folder) + sum(map(_stored, others))
            for folder in others:
                if total <= MOST_BYTES:
                    break
                total -= _stored(folder)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            return False
        return True


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(file, "pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}, json.loads(stream.metadata()["facts"])  # noqa: SIM118


def _packed(inputs: PooledInputs, names: Sequence[str]) -> bytes:
    """Return the inputs of some modules as a file; modules that read one tensor share it."""
    first: dict[int, str] = {}
    modules = {name: first.setdefault(id(inputs.by_module[name]), name) for name in names}
    facts = {"modules": modules, "batch_sizes": inputs.batch_sizes, "prefix_length": inputs.prefix_length}
    tensors = {name: inputs.by_module[name].contiguous() for name in first.values()}
    content: bytes = save(tensors, {"facts": json.dumps(facts)})
    return content


def _size(inputs: PooledInputs) -> int:
    unique = {id(pooled): pooled.numel() for pooled in inputs.by_module.values()}
    return FLOAT_BYTES * sum(unique.values())


def _stored(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*"))
