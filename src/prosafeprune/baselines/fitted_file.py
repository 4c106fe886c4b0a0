"""The fit of a method, kept in one safetensors file together with what it depends on."""

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
from prosafeprune.errors import InputError, first_line
from prosafeprune.files.staging import write_whole

ENTRY = "prosafeprune"
FORMAT = 1


def write_fitted(path: Path, fitted: FittedParts, made_by: Mapping[str, Any]) -> None:
    """Write the file atomically; ``made_by`` says what the fit depends on: method, settings, model, prompts.

    Raises:
        InputError: it cannot be written.
    """
    known = {"format": FORMAT, "made_by": dict(made_by), "facts": fitted.facts, "seconds": fitted.seconds}
    header = json.dumps(known)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.tensors.items()}
    write_whole(path, save(tensors, {ENTRY: header}))


@dataclass(frozen=True)
class FittedFile:
    """The contents of a file."""

    parts: FittedParts
    made_by: dict[str, Any]


def read_fitted(path: Path, made_by: Mapping[str, Any]) -> FittedFile:
    """Read a file whose fit has every dependency in ``made_by``; others it names may differ.

    Raises:
        InputError: no such file, a damaged one, or one of another method, other settings or another model.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, or not a regular one. Check --fitted.")
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})[ENTRY])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
        found, facts, seconds = dict(header["made_by"]), dict(header["facts"]), header.get("seconds")
        known = header["format"] == FORMAT
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a file of a fitted method, or damaged ({first_line(error)}). Fit again."
        ) from error
    if any(tensor.is_floating_point() and bool(tensor.isnan().any()) for tensor in tensors.values()):
        raise InputError(f"{path}: holds values that are not numbers. Fit again.")
    if not known:
        raise InputError(f"{path}: was written by another version of this package. Fit again.")
    wanted = json.loads(json.dumps(dict(made_by)))
    other = [name for name, value in wanted.items() if found.get(name) != value]
    if other:
        was = ", ".join(f"{name} {found.get(name)!r}, now {wanted[name]!r}" for name in other)
        raise InputError(f"{path}: belongs to another fit ({was}). Fit again, or give the file that belongs to it.")
    return FittedFile(FittedParts(tensors, facts, seconds if isinstance(seconds, int | float) else None), found)


def fitted_hash(fitted: FittedParts) -> str:
    """Return the sha256 over names, shapes, dtypes and bytes of the tensors, and over the facts."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(fitted.tensors.items())}
    digest = hashlib.sha256(json.dumps(fitted.facts, sort_keys=True).encode())
    digest.update(save(tensors))
    return digest.hexdigest()
