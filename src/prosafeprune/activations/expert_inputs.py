"""Inputs of experts, pooled over the tokens routed to each of them.

An expert sees few tokens of a prompt, and none of many prompts. So its pooled activation is the mean over its own
tokens, and its activation matrix has one column for each prompt that reaches it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from prosafeprune.errors import InputError
from prosafeprune.model.storage import KEPT_IN_MEMORY

FLOAT32_BYTES = 4


@dataclass(frozen=True)
class ExpertTokens:
    """The inputs of an expert in one batch."""

    indices: torch.Tensor
    """Indices ``(n,)`` of the tokens routed to the expert, counted over all rows of the batch."""
    inputs: torch.Tensor
    """Inputs of these tokens ``(n, d_in)``, float32."""


def pool_expert_tokens(
    weights: torch.Tensor, suffix: ExpertTokens | None, prefix_weights: torch.Tensor, prefix: ExpertTokens | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of a batch with tokens routed to an expert, and its weighted mean input of each, ``(n, d_in)``.

    Args:
        weights: pooling weights of each row's tokens after the shared prefix, ``(rows, width)``.
        suffix: the expert's inputs among these tokens.
        prefix_weights: pooling weights of the prefix's tokens in each row, ``(rows, prefix)``.
        prefix: the expert's inputs among the prefix's tokens.
    """
    sums: list[torch.Tensor] = []
    totals = weights.new_zeros(len(weights))
    if suffix is not None:
        rows, columns = suffix.indices // weights.shape[1], suffix.indices % weights.shape[1]
        of_row = weights.new_zeros(len(weights), len(rows))
        # A product rather than a sum by index, whose order on a GPU changes from run to run.
        of_row[rows, torch.arange(len(rows), device=rows.device)] = weights[rows, columns]
        sums.append(of_row @ suffix.inputs)
        totals = totals + of_row.sum(dim=1)
    if prefix is not None:
        of_row = prefix_weights[:, prefix.indices]
        sums.append(of_row @ prefix.inputs)
        totals = totals + of_row.sum(dim=1)
    reached = totals.nonzero().squeeze(1)
    return reached, sum(sums[1:], sums[0])[reached] / totals[reached, None]


@dataclass
class ExpertInputs:
    """Pooled inputs of experts, with the prompts that reach each; spilled from memory to a file when large.

    There can be a row for every expert and prompt.
    """

    prompts: dict[str, list[int]] = field(default_factory=dict)
    """The prompts that reach each input, by the input's name, in the order in which they were added."""
    _pieces: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """Where each input's rows are in the file: the first byte, and the shape ``(n, d_in)``."""
    _file: tempfile.SpooledTemporaryFile[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(max_size=KEPT_IN_MEMORY)  # noqa: SIM115 - closed with the object
    )

    def add(self, name: str, prompts: Sequence[int], rows: torch.Tensor) -> None:
        """Add the rows ``(n, d_in)`` of ``n`` prompts, possibly none.

        Raises:
            InputError: they are not finite, or the disk has no room for them.
        """
        if not prompts:
            return
        if not torch.isfinite(rows).all():
            raise InputError(f"The input of {name} is not finite. Use --dtype float32 or bfloat16.")
        try:
            start = self._file.seek(0, 2)
            self._file.write(rows.float().cpu().numpy().tobytes())
        except OSError as error:
            raise InputError(
                f"{tempfile.gettempdir()}: the inputs of the experts could not be stored ({error.strerror}). Make "
                "room, point TMPDIR elsewhere, or use fewer prompts."
            ) from error
        self.prompts.setdefault(name, []).extend(prompts)
        self._pieces.setdefault(name, []).append((start, *rows.shape))

    def of(self, name: str, wanted: Sequence[int] | None = None) -> torch.Tensor:
        """Return the rows ``(n, d_in)``, float32, of those ``wanted`` prompts that reach an expert, in their order.

        Without ``wanted``, of all prompts that reach it, sorted.
        """
        row_of = {prompt: row for row, prompt in enumerate(self.prompts[name])}
        rows = [row_of[prompt] for prompt in (sorted(row_of) if wanted is None else wanted) if prompt in row_of]
        return torch.cat([self._read(*piece) for piece in self._pieces[name]])[rows]

    def _read(self, start: int, count: int, width: int) -> torch.Tensor:
        self._file.seek(start)
        data = bytearray(self._file.read(count * width * FLOAT32_BYTES))
        return torch.frombuffer(data, dtype=torch.float32).view(count, width)
