"""The one model that all workers must have, found from each of their machines."""

from __future__ import annotations

from prosafeprune.errors import InputError
from prosafeprune.model.source import ModelSource, find_source, model_hash


def workers_name(source: ModelSource) -> str:
    """Return what workers, whose current folder is another, find a model by: its hub id or its whole path."""
    return source.name if source.is_hub else str(source.path.resolve())


def find_same_model(name: str, revision: str | None, sha256: str) -> ModelSource:
    """Find a model by a name that another machine gave.

    Raises:
        InputError: it is not to be found from here, or not the one with the hash ``sha256``.
    """
    source = find_source(name, revision, edited=False)
    if model_hash(source.path) != sha256:
        raise InputError(f"{name}: is another model here than where the command was given. Put the same one there.")
    return source
