"""How a model begins its answers: its first greedy tokens, and its hidden states behind them.

The source's own openings serve as drafts. A pass over a prompt and its draft, begun at the first pruned layer, tells at
which of its tokens the edited model would have said something else; only prompts where it would are decoded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from prosafeprune.generation.decoding import PlainBatchDecoder, TokenChoice, decode
from prosafeprune.generation.prefill import prefill
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import ending_at
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.model.resume import ForcedText, ResumedModel, TokenOutputs
from prosafeprune.progress import Advance, ignore


class FirstTokenStates:
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
        drafts = [text for text, _ in self._begin(range(len(self.prompt_ids)))]
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
        for row, outputs in self.model.run(first_layer, logits=True):
            if self._keeps_to(self.model.texts[row], outputs):
                states[row] = _mean_behind_tokens(outputs)
            else:
                departed.append(row)
        if departed:
            states |= {row: state for row, (_, state) in zip(departed, self._begin(departed), strict=True)}
        stacked: np.ndarray = torch.stack([states[row] for row in range(len(states))]).double().cpu().numpy()
        return stacked

    def _keeps_to(self, draft: ForcedText, outputs: TokenOutputs) -> bool:
        """Tell whether the model that was read would itself have said the draft."""
        assert outputs.logits is not None
        said = outputs.logits.argmax(dim=-1).tolist()
        ended = len(draft.answer_ids) == self.tokens or said[-1] in self._ends
        return ended and tuple(said[: len(draft.answer_ids)]) == draft.answer_ids

    @torch.inference_mode()
    def _begin(self, rows: Sequence[int]) -> list[tuple[ForcedText, torch.Tensor]]:
        """Return some prompts with the openings that the model, as it is now, gives them, and its mean states there."""
        prompts = [self.prompt_ids[row] for row in rows]
        head = PrefixCache(self.loaded.model, prompts, self.tokens + 1)
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)

        def work(places: Sequence[int]) -> Iterator[tuple[int, tuple[ForcedText, torch.Tensor]]]:
            writing = _Overheard(self.loaded, self.anatomy, [prompts[place][head.length :] for place in places], head)
            greedy = TokenChoice(0.0, [""] * len(places))
            # One token more than wanted: the last one chosen is not read, and the one before it must be.
            for index, ids, _ in decode(writing, self.loaded.end_ids, self.tokens + 1, greedy):
                text = ForcedText(prompts[places[index]], tuple(ids[: self.tokens]))
                yield places[index], (text, writing.mean_state(index))

        begun = dict(self.batch_size.stream(order, work))
        return [begun[place] for place in range(len(prompts))]


class _Overheard(PlainBatchDecoder):
    """Rows on which a model writes, with what its head reads behind each token of each row."""

    def __init__(
        self, loaded: LoadedModel, anatomy: Anatomy, tails: Sequence[Sequence[int]], head: PrefixCache
    ) -> None:
        self._layers = anatomy.layers
        read: list[torch.Tensor] = []
        with ending_at(loaded.model, self._layers, None, read, stop=False):
            batch = prefill(loaded, tails, head)  # in groups, one after the other
        super().__init__(loaded, batch)
        self._behind_prompts = torch.cat([states[:, -1] for states in read])
        self._behind_tokens: list[list[torch.Tensor]] = [[] for _ in tails]

    def write(self, tokens: torch.Tensor) -> None:
        """Put one token, ``(rows,)``, behind each remaining row, and read it."""
        read: list[torch.Tensor] = []
        with ending_at(self.loaded.model, self._layers, None, read, stop=False):
            super().write(tokens)
        for row, state in zip(self.rows, read[0][:, -1], strict=True):
            self._behind_tokens[row].append(state)

    def mean_state(self, row: int) -> torch.Tensor:
        """Return the mean ``(d,)`` of a row's states behind its tokens, or the state behind the prompt without any."""
        states = self._behind_tokens[row] or [self._behind_prompts[row]]
        return torch.stack(states).float().mean(dim=0)


def _mean_behind_tokens(outputs: TokenOutputs) -> torch.Tensor:
    """Return the mean ``(d,)`` of the states behind the answer's tokens, or the one state there is."""
    return outputs.hidden[min(1, len(outputs.hidden) - 1) :].float().mean(dim=0)
