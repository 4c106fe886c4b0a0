"""The edits of a layer's experts as the LoRA factors of one stacked parameter, as PEFT lays them out.

``A (experts * rank, d_in)`` has the rows of an expert together; ``B (d_out, rank * experts)`` has all experts' first
columns, then all second ones. This holds for parameters ``(experts, d_out, d_in)`` and transposed ones, since PEFT
0.20. An expert that is not edited has zeros.
"""

from collections.abc import Mapping, Sequence

import torch

from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import LowRankChange
from prosafeprune.model.submodule import Submodule


def rank_of_experts(parts: Sequence[tuple[Submodule, LowRankChange]]) -> int:
    """Return the rank that the changes of one parameter's experts need: those of an expert's gate and up add up."""
    return sum({submodule.kind: change.b.shape[1] for submodule, change in parts}.values())


def stacked_experts(parts: Sequence[tuple[Submodule, LowRankChange]], rank: int) -> LowRankChange:
    """Return the change of a stacked parameter from the changes of its experts' submodules.

    Args:
        parts: of one parameter; the changes of one kind have the same rank.
        rank: per expert; what the changes do not need of it is filled with zeros.
    """
    columns = _columns({submodule.kind: change.b.shape[1] for submodule, change in parts})
    return _assembled(parts[0][0], parts, columns, rank)


def unstacked_experts(
    change: LowRankChange, submodules: Sequence[Submodule], rank: int
) -> list[tuple[Submodule, LowRankChange]]:
    """Return the changes of the experts that are edited, given the plan's rank; inverts :func:`stacked_experts`.

    Args:
        change: of one parameter.
        submodules: all that the parameter holds.
        rank: of the plan.

    Raises:
        InputError: the factors' shapes do not fit the plan, or there are numbers where it has none.
    """
    first = submodules[0]
    (d_out, d_in), experts = first.stored_shape, len(first.stored)
    columns = _columns({submodule.kind: min(rank, submodule.shape[0]) for submodule in submodules})
    needed = max(own.stop for own in columns.values())
    per_expert = change.a.shape[0] // experts
    fits = tuple(change.a.shape) == (per_expert * experts, d_in) and tuple(change.b.shape) == (d_out, len(change.a))
    if not fits or per_expert < needed:
        raise InputError(
            f"{first.parameter_name}: the adapter's factors of {tuple(change.b.shape)} and {tuple(change.a.shape)} do "
            f"not fit {experts} experts of {d_out} x {d_in} and rank {rank}. Make the adapter again."
        )
    a, b = change.a.unflatten(0, (experts, per_expert)), change.b.unflatten(1, (per_expert, experts))
    found = []
    for submodule in submodules:
        own, expert = columns[submodule.kind], submodule.expert
        part = LowRankChange(b[:, :, expert][_rows(submodule), own].contiguous(), a[expert, own].contiguous())
        if bool(part.b.any()):
            found.append((submodule, part))
    if not torch.equal(_assembled(first, found, columns, per_expert).b, change.b.float()):
        raise InputError(
            f"{first.parameter_name}: the adapter's factors have numbers where its plan has none. Make the adapter "
            "again."
        )
    return found


def _assembled(
    like: Submodule, parts: Sequence[tuple[Submodule, LowRankChange]], columns: Mapping[str, slice], rank: int
) -> LowRankChange:
    (d_out, d_in), experts = like.stored_shape, len(like.stored)
    a, b = torch.zeros(experts, rank, d_in), torch.zeros(d_out, rank, experts)
    for submodule, change in parts:
        own, expert = columns[submodule.kind], submodule.expert
        a[expert, own] = change.a.cpu()
        b[:, :, expert][_rows(submodule), own] = change.b.cpu()
    return LowRankChange(b.flatten(1), a.flatten(0, 1))


def _columns(ranks: Mapping[str, int]) -> dict[str, slice]:
    """Return, by kind, the part of an expert's rank that belongs to it."""
    columns, start = {}, 0
    for kind, rank in ranks.items():
        columns[kind] = slice(start, start + rank)
        start += rank
    return columns


def _rows(submodule: Submodule) -> torch.Tensor | slice:
    return slice(None) if submodule.rows is None else submodule.rows
