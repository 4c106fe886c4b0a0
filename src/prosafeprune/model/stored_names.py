"""The tensors on disk against those of the model: what each becomes, and which are missing, unused or there twice.

transformers loads what it can and only logs the rest. Where two tensors become one parameter, one of them wins.
"""

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.utils.loading_report import LoadStateDictInfo

from prosafeprune.errors import InputError
from prosafeprune.model.model_files import shard_files
from prosafeprune.model.shard_header import TensorEntry, read_shard_header
from prosafeprune.progress import Reporter
from prosafeprune.text import beginning

LAYER_NUMBER = re.compile(r"\.\d+\.")
REAL_DTYPES = {"F64", "F32", "F16", "BF16"}
SHOWN = 3
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Becomes:
    """What a tensor on disk becomes in the model."""

    parameter: str
    """The parameter that the tensor becomes, or the first of those that it is split into."""
    others: tuple[str, ...] = ()
    """The other parameters that it is split into."""
    part: str | None = None
    """Which part of the parameter the tensor is; None when it is all of it. The parts of one parameter differ."""


def stored_entries(folder: Path) -> dict[str, tuple[Path, TensorEntry]]:
    """Return the shard and the header's entry of every tensor of a checkpoint folder, by its name on disk.

    With a shard index, only the shards it names are read: the folder may hold the same weights in another form, too.

    Raises:
        InputError: a shard is missing, cut short or not a safetensors file, or a tensor is in two of them.
    """
    found: dict[str, tuple[Path, TensorEntry]] = {}
    for file in shard_files(folder):
        for name, entry in read_shard_header(file).tensors.items():
            if name in found:  # which of them a model gets depends on who loads it
                raise InputError(
                    f"{folder}: {name[:SHOWN_CHARACTERS]} is in two shards, {found[name][0].name} and {file.name}. "
                    "Fetch the model again."
                )
            found[name] = file, entry
    return found


def parameters_of(model: Any, names: Iterable[str]) -> dict[str, Becomes]:
    """Return what each tensor on disk becomes in the model, by the rules of transformers' own loading."""
    mapping = get_model_conversion_mapping(model, hf_quantizer=getattr(model, "hf_quantizer", None))
    renamings = [conversion for conversion in mapping if isinstance(conversion, WeightRenaming)]
    converters = [conversion for conversion in mapping if isinstance(conversion, WeightConverter)]
    by_pattern = {pattern: conversion for conversion in converters for pattern in conversion.source_patterns}
    known, prefix = model.state_dict(), model.base_model_prefix
    found = {}
    for name in names:
        parameter, pattern = rename_source_key(name, renamings, converters, prefix, known)
        if parameter not in known and name in known:  # it should not have been renamed
            parameter, pattern = rename_source_key(name, [], [], prefix, known)
        if pattern is None:
            found[name] = Becomes(parameter)
            continue
        first, *others = by_pattern[pattern].target_patterns
        found[name] = Becomes(
            parameter,
            tuple(parameter.replace(first, other, 1) for other in others),
            rename_source_key(name, renamings, [])[0].removeprefix(f"{prefix}."),
        )
    return found


def require_one_each(found: Mapping[str, Becomes], known: Container[str], name: str) -> None:
    """Raise InputError when two tensors on disk become the same parameter of the model, or the same part of it."""
    parts: dict[str, dict[str | None, str]] = {}
    for stored, becomes in found.items():
        for parameter in (becomes.parameter, *becomes.others):
            if parameter not in known:
                continue
            before = parts.setdefault(parameter, {})
            other = before.get(becomes.part) or before.get(None)
            if other is None and becomes.part is None and before:
                other = next(iter(before.values()))
            if other is not None:
                raise InputError(
                    f"{name}: {_shown(other)} and {_shown(stored)} are both stored and become one tensor of the model, "
                    f"{_shown(parameter)}. Remove the one that does not belong there, or fetch the model again."
                )
            before[becomes.part] = stored


def require_real_numbers(found: Mapping[str, Becomes], dtypes: Mapping[str, str], model: Any, name: str) -> None:
    """Raise InputError when weights are stored as integers, 8 bits or complex numbers, and no quantisation says how.

    transformers takes such numbers for the weights.

    Args:
        dtypes: of the tensors on disk, as in a safetensors header.
    """
    if getattr(model.config, "quantization_config", None) is not None:
        return
    known = model.state_dict()
    for stored, becomes in found.items():
        parameter = known.get(becomes.parameter)
        if parameter is not None and parameter.is_floating_point() and dtypes[stored] not in REAL_DTYPES:
            raise InputError(
                f"{name}: {_shown(stored)} is stored as {dtypes[stored][:SHOWN_CHARACTERS]}, and config.json has no "
                "quantization_config that says what the numbers mean. Fetch the model again."
            )


def require_complete(absent: Iterable[str], name: str) -> None:
    """Raise InputError when tensors of the model ``name`` are missing or have the wrong shape.

    transformers fills them with random numbers and only logs it.
    """
    named = sorted(absent)
    if named:
        raise InputError(
            f"{name}: {len(named)} tensors are missing or have the wrong shape, such as {named[0]}. Fetch it again."
        )


def require_no_further_layers(unused: Iterable[str], known: Container[str], name: str) -> None:
    """Raise InputError when tensors on disk that the model does not use are further layers of it.

    A config with fewer layers than the weights would have us measure another model than the one that is written.
    """
    further = [key for key in unused if LAYER_NUMBER.search(key) and LAYER_NUMBER.sub(".0.", key, count=1) in known]
    if further:
        raise InputError(
            f"{name}: the weights have more layers than its config.json says: {len(further)} tensors are unused, such "
            f"as {further[0]}. Correct num_hidden_layers, or fetch it again."
        )


def unused_of(model: Any, found: Mapping[str, Becomes], known: Container[str]) -> set[str]:
    """Return the parameters that tensors on disk would become and the model does not have.

    Those that transformers says may be ignored for this model are left out.
    """
    unused = {becomes.parameter for becomes in found.values() if becomes.parameter not in known}
    none: dict[str, Any] = {"missing_keys": set(), "mismatched_keys": set(), "error_msgs": [], "conversion_errors": {}}
    info = LoadStateDictInfo(unexpected_keys=unused, skipped_pp_keys=set(), **none)
    model._adjust_missing_and_unexpected_keys(info)
    return set(info.unexpected_keys)


def warn_of_unused(unused: Collection[str], name: str, reporter: Reporter) -> None:
    """Warn in one line of tensors on disk that the model does not use."""
    if unused:
        named = ", ".join(map(_shown, sorted(unused)[:SHOWN])) + (", ..." if len(unused) > SHOWN else "")
        count = "1 stored tensor is" if len(unused) == 1 else f"{len(unused)} stored tensors are"
        reporter.warning(f"{name}: {count} not used by the model that its config.json describes: {named}.")


def _shown(name: str) -> str:
    return beginning(name, SHOWN_CHARACTERS)
