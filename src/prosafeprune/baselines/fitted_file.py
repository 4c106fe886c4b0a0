"""What a method has learned, kept in one safetensors file with its description."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prosafeprune.baselines.method import FittedParts
from prosafeprune.errors import InputError

ENTRY = "prosafeprune"
FORMAT = 1


def write_learned(path: Path, learned: FittedParts, made_by: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all; ``made_by`` says what it depends on: method, settings, model, prompts.

    Raises:
        InputError: it cannot be written.
    """
    header = json.dumps({"format": FORMAT, "made_by": dict(made_by), "facts": learned.facts})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learned.tensors.items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(save(tensors, {ENTRY: header}))
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: could not be written ({error.strerror}).") from error


@dataclass(frozen=True)
class Kept:
    """What a file holds."""

    learned: FittedParts
    made_by: dict[str, Any]


def read_learned(path: Path, made_by: Mapping[str, Any]) -> Kept:
    """Read a file that was made by all that ``made_by`` names; what else it depends on may differ.

    Raises:
        InputError: no such file, a damaged one, or one of another method, other settings or another model.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})[ENTRY])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
        kept, facts = dict(header["made_by"]), dict(header["facts"])
        known = header["format"] == FORMAT
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Check --fitted.") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no file that a method was fitted into, or damaged ({_reason(error)}). Fit again."
        ) from error
    if not known:
        raise InputError(f"{path}: was written by another version of this package. Fit again.")
    wanted = json.loads(json.dumps(dict(made_by)))
    other = [name for name, value in wanted.items() if kept.get(name) != value]
    if other:
        was = ", ".join(f"{name} {kept.get(name)!r}, now {wanted[name]!r}" for name in other)
        raise InputError(f"{path}: was fitted otherwise ({was}). Fit again, or give the file that belongs to it.")
    return Kept(FittedParts(tensors, facts), kept)


def learned_hash(learned: FittedParts) -> str:
    """Return the sha256 over names, shapes, dtypes and bytes of what was learned, and its facts."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(learned.tensors.items())}
    digest = hashlib.sha256(json.dumps(learned.facts, sort_keys=True).encode())
    digest.update(save(tensors))
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
