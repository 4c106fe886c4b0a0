"""What experts read, pooled over the tokens routed to each of them.

An expert sees few tokens of a prompt, and of many prompts none. So its pooled activation is the mean over those tokens
alone, and its activation matrix has a column for each prompt that reaches it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from prosafeprune.errors import InputError
from prosafeprune.model.storage import KEPT_IN_MEMORY

BYTES = 4
"""Of a float32."""


@dataclass(frozen=True)
class ExpertTokens:
    """What an expert read of the tokens routed to it."""

    places: torch.Tensor
    """``(n,)``: where each token stands, counted over all rows of its batch."""
    read: torch.Tensor
    """``(n, d_in)``, float32."""


def pool_expert_tokens(
    weights: torch.Tensor,
    tail: ExpertTokens | None,
    head_weights: torch.Tensor,
    head: ExpertTokens | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of a batch that an expert had tokens of, and the mean of what it read of each, ``(n, d_in)``.

    Args:
        weights: of the tokens of each row behind the shared head, ``(rows, width)``; the mean is taken by them.
        tail: what the expert read of these.
        head_weights: of the tokens of the shared head, ``(rows, head)``.
        head: what it read of those.
    """
    sums: list[torch.Tensor] = []
    totals = weights.new_zeros(len(weights))
    if tail is not None:
        rows, places = tail.places // weights.shape[1], tail.places % weights.shape[1]
        of_row = weights.new_zeros(len(weights), len(rows))
        # A product, and no sum by index, which a GPU takes in an order of its own each time.
        of_row[rows, torch.arange(len(rows), device=rows.device)] = weights[rows, places]
        sums.append(of_row @ tail.read)
        totals = totals + of_row.sum(dim=1)
    if head is not None:
        of_row = head_weights[:, head.places]
        sums.append(of_row @ head.read)
        totals = totals + of_row.sum(dim=1)
    reached = totals.nonzero().squeeze(1)
    return reached, sum(sums[1:], sums[0])[reached] / totals[reached, None]


@dataclass
class ExpertInputs:
    """Pooled inputs of experts: the prompts that reach each, and what it reads of them; in memory while it lasts.

    They can be large: for every expert, a row for every prompt.
    """

    prompts: dict[str, list[int]] = field(default_factory=dict)
    """By the name of what is read, the prompts that reach it, as they came."""
    _pieces: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    """Where the rows of each lie: the first byte, and ``(n, d_in)``."""
    _file: tempfile.SpooledTemporaryFile[bytes] = field(
        default_factory=lambda: tempfile.SpooledTemporaryFile(max_size=KEPT_IN_MEMORY)  # noqa: SIM115 - lives as long
    )

    def add(self, name: str, prompts: Sequence[int], rows: torch.Tensor) -> None:
        """Put in rows ``(n, d_in)`` of as many prompts; there may be none.

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
                f"{tempfile.gettempdir()}: what the experts read could not be kept ({error.strerror}). Make room, "
                "point TMPDIR elsewhere, or use fewer prompts."
            ) from error
        self.prompts.setdefault(name, []).extend(prompts)
        self._pieces.setdefault(name, []).append((start, *rows.shape))

    def of(self, name: str, wanted: Sequence[int] | None = None) -> torch.Tensor:
        """Return the rows ``(n, d_in)``, float32, of those ``wanted`` prompts that reach an expert, in their order.

        All that reach it, by number, unless told otherwise.
        """
        place_of = {prompt: place for place, prompt in enumerate(self.prompts[name])}
        places = [place_of[prompt] for prompt in (sorted(place_of) if wanted is None else wanted) if prompt in place_of]
        return torch.cat([self._read(*piece) for piece in self._pieces[name]])[places]

    def _read(self, start: int, count: int, width: int) -> torch.Tensor:
        self._file.seek(start)
        data = bytearray(self._file.read(count * width * BYTES))
        return torch.frombuffer(data, dtype=torch.float32).view(count, width)
