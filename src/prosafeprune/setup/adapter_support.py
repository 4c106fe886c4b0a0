"""Whether a LoRA adapter can hold the edits of a model, from its config alone."""

from __future__ import annotations

from typing import Any

from prosafeprune.checkpoint.adapter import require_adaptable
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import make_meta_model
from prosafeprune.model.source import ModelSource


def adapter_refusal(source: ModelSource, *, trust_remote_code: bool) -> str | None:
    """Return why an adapter cannot hold a model's edits; None where it can, and for a GGUF, which is converted first.

    Raises:
        InputError: the architecture is unknown or not supported.
    """
    if source.is_gguf:
        return None
    return refusal_of(make_meta_model(source.path, source.name, trust_remote_code=trust_remote_code))


def refusal_of(model: Any) -> str | None:
    """Return why an adapter cannot hold the edits of a model, whose weights are not looked at; None where it can."""
    anatomy = find_anatomy(model)
    try:
        require_adaptable(anatomy)
    except InputError as error:
        return str(error)
    return None


def require_adapter_support(source: ModelSource, *, trust_remote_code: bool) -> None:
    """Raise InputError, before a model is converted or loaded, when an adapter cannot hold its edits."""
    refusal = adapter_refusal(source, trust_remote_code=trust_remote_code)
    if refusal is not None:
        raise InputError(f"{source.name}: {refusal}")
