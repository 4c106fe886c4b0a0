"""Whether a LoRA adapter can hold the edits of a model, from its config alone."""

from __future__ import annotations

from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import make_meta_model
from prosafeprune.model.source import ModelSource, quantisation_of, read_config


def adapter_refusal(source: ModelSource, *, trust_remote_code: bool) -> str | None:
    """Return why an adapter cannot hold a model's edits; None where it can, and for a GGUF, which runs in 16 bits.

    Raises:
        InputError: the architecture is unknown or not supported.
    """
    if source.is_gguf or quantisation_of(read_config(source.path, source.name)) is None:
        return None
    return refusal_of(make_meta_model(source.path, source.name, trust_remote_code=trust_remote_code))


def refusal_of(quantised: Any) -> str | None:
    """Return why an adapter cannot hold the edits of a quantised model, whose weights are not looked at."""
    expert = next((one for one in find_anatomy(quantised).submodules if one.expert is not None), None)
    if expert is None:
        return None
    return (
        f"{expert.name}: is one of a quantised model's experts, and PEFT adds an adapter's edits of experts to the "
        "numbers as they are stored. Choose --dequantise."
    )


def require_adapter_support(source: ModelSource, *, trust_remote_code: bool) -> None:
    """Raise InputError, before a model is converted or loaded, when an adapter cannot hold its edits."""
    refusal = adapter_refusal(source, trust_remote_code=trust_remote_code)
    if refusal is not None:
        raise InputError(f"{source.name}: {refusal}")
