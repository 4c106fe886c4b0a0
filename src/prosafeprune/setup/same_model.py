"""The driver's model, found again on each worker's machine."""

from __future__ import annotations

from prosafeprune.errors import InputError
from prosafeprune.model.source import ModelSource, find_source, model_hash


def workers_name(source: ModelSource) -> str:
    """Return the name by which workers, which run in another folder, find a model: its hub id or absolute path."""
    return source.name if source.is_hub else str(source.path.resolve())


def find_same_model(name: str, revision: str | None, sha256: str) -> ModelSource:
    """Find the driver's model on this machine.

    Raises:
        InputError: there is none of that name here, or its hash is not ``sha256``.
    """
    source = find_source(name, revision)
    if model_hash(source.path) != sha256:
        raise InputError(f"{name}: differs from the driver's model of that name. Copy the driver's model here.")
    return source
