"""How a model begins its answers: its first greedy tokens, and its hidden states behind them.

The source's own openings serve as drafts. A pass over a prompt and its draft, begun at the first pruned layer, tells at
which of its tokens the edited model would have said something else; only prompts where it would are decoded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.resume import ForcedText, Reading, ResumedModel
from prosafeprune.model.shared_head import SharedHead
from prosafeprune.progress import Advance, ignore


class Openings:
    """The openings of one model's answers to fixed prompts, before and after edits of its weights."""

    def __init__(
        self,
        loaded: LoadedModel,
        anatomy: Anatomy,
        prompt_ids: Sequence[tuple[int, ...]],
        tokens: int,
        layers: Sequence[int],
        batch_size: BatchSize,
        advance: Advance = ignore,
    ) -> None:
        """Have the source begin its answers, and keep the states that enter ``layers``.

        Args:
            loaded: the model with its source weights.
            anatomy: its layers.
            prompt_ids: the prompts' tokens.
            tokens: length of an opening, at least 1; an answer that ends before has a shorter one.
            layers: layers that edits may begin at.
            batch_size: how many prompts run at a time.
            advance: told of each prompt that is done.

        Raises:
            InputError: as for ``ResumedModel``.
        """
        self.loaded, self.anatomy, self.batch_size, self.tokens = loaded, anatomy, batch_size, tokens
        self.prompt_ids = list(prompt_ids)
        self._ends = set(loaded.end_ids)
        drafts = self._decode(range(len(self.prompt_ids)))
        self.model = ResumedModel(loaded, anatomy, drafts, layers, batch_size, advance)

    def states(self, first_layer: int) -> np.ndarray:
        """Return what the model's head reads behind the tokens of each opening, averaged, ``(prompts, d)``.

        Where an answer ends at once, it is the state from which it does.

        Args:
            first_layer: no layer below it has changed since the source was read.

        Raises:
            InputError: out of memory, or the output is not finite.
        """
        states: dict[int, torch.Tensor] = {}
        departed: list[int] = []
        for row, reading in self.model.read(first_layer, logits=True):
            if self._keeps_to(self.model.texts[row], reading):
                states[row] = _mean_behind_tokens(reading)
            else:
                departed.append(row)
        if departed:
            anew = ResumedModel(self.loaded, self.anatomy, self._decode(departed), (), self.batch_size)
            states |= {departed[place]: _mean_behind_tokens(reading) for place, reading in anew.read(0)}
        stacked: np.ndarray = torch.stack([states[row] for row in range(len(states))]).double().cpu().numpy()
        return stacked

    def _keeps_to(self, draft: ForcedText, reading: Reading) -> bool:
        """Tell whether the model that was read would itself have said the draft."""
        assert reading.logits is not None
        said = reading.logits.argmax(dim=-1).tolist()
        ended = len(draft.answer_ids) == self.tokens or said[-1] in self._ends
        return ended and tuple(said[: len(draft.answer_ids)]) == draft.answer_ids

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _decode(self, rows: Sequence[int]) -> list[ForcedText]:
        """Return some prompts with the openings that the model, as it is now, gives them."""
        prompts = [self.prompt_ids[row] for row in rows]
        head = SharedHead(self.loaded.model, prompts, self.tokens)
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)

        def work(places: Sequence[int]) -> Iterator[tuple[int, ForcedText]]:
            greedy = TokenChoice(0.0, [""] * len(places))
            tails = [prompts[place][head.length :] for place in places]
            for index, ids, _ in decode_batch(self.loaded, tails, head, self.tokens, greedy):
                yield places[index], ForcedText(prompts[places[index]], tuple(ids))

        decoded = dict(self.batch_size.stream(order, work))
        return [decoded[place] for place in range(len(prompts))]


def _mean_behind_tokens(reading: Reading) -> torch.Tensor:
    """Return the mean ``(d,)`` of a reading's states behind the answer's tokens, or the one state there is."""
    return reading.hidden[min(1, len(reading.hidden) - 1) :].float().mean(dim=0)
