"""The first greedy tokens of a model's answers, and its hidden states at them.

The base model's first tokens serve as drafts. A pass over each prompt and its draft, resumed at the first pruned layer,
shows where the edited model would have chosen another token; only those prompts are decoded again.
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
    """The states at the first answer tokens to fixed prompts, for the base model and for edits of its weights."""

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
        """Decode the base model's first tokens, and keep the states that enter ``layers``.

        Args:
            loaded: the model with its base weights.
            anatomy: its layers.
            prompt_ids: the prompts' tokens.
            tokens: how many answer tokens, at least 1; an answer may end before.
            layers: layers that edits may start at.
            batch_size: how many prompts run at a time.
            advance: called after each prompt.

        Raises:
            InputError: as for ``ResumedModel``.
        """
        self.loaded, self.anatomy, self.batch_size, self.tokens = loaded, anatomy, batch_size, tokens
        self.prompt_ids = list(prompt_ids)
        self._ends = set(loaded.end_ids)
        drafts = [text for text, _ in self._decode(range(len(self.prompt_ids)))]
        self.model = ResumedModel(loaded, anatomy, drafts, layers, batch_size, advance)

    def states(self, first_layer: int) -> np.ndarray:
        """Return the mean over each prompt's first answer tokens of the LM head's input, ``(prompts, d)``.

        If an answer is empty, it is the state at the last prompt token.

        Args:
            first_layer: no layer below it has changed since the base model was run.

        Raises:
            InputError: out of memory, or the output is not finite.
        """
        states: dict[int, torch.Tensor] = {}
        rejected: list[int] = []
        for row, outputs in self.model.run(first_layer, logits=True):
            if self._accepts(self.model.texts[row], outputs):
                states[row] = _mean_state(outputs)
            else:
                rejected.append(row)
        if rejected:
            states |= {row: state for row, (_, state) in zip(rejected, self._decode(rejected), strict=True)}
        stacked: np.ndarray = torch.stack([states[row] for row in range(len(states))]).double().cpu().numpy()
        return stacked

    def _accepts(self, draft: ForcedText, outputs: TokenOutputs) -> bool:
        """Whether the model whose outputs these are would have decoded the draft itself."""
        assert outputs.logits is not None
        greedy = outputs.logits.argmax(dim=-1).tolist()
        ended = len(draft.answer_ids) == self.tokens or greedy[-1] in self._ends
        return ended and tuple(greedy[: len(draft.answer_ids)]) == draft.answer_ids

    @torch.inference_mode()
    def _decode(self, rows: Sequence[int]) -> list[tuple[ForcedText, torch.Tensor]]:
        """Return prompts with the first tokens that the model, as it is now, answers, and its mean states there."""
        prompts = [self.prompt_ids[row] for row in rows]
        prefix = PrefixCache(self.loaded.model, prompts, self.tokens + 1)
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)

        def work(batch: Sequence[int]) -> Iterator[tuple[int, tuple[ForcedText, torch.Tensor]]]:
            suffixes = [prompts[index][prefix.length :] for index in batch]
            decoder = _StateRecorder(self.loaded, self.anatomy, suffixes, prefix)
            greedy = TokenChoice(0.0, [""] * len(batch))
            # One token more than wanted: the last token decoded is not fed back, so its state would be missing.
            for row, ids, _ in decode(decoder, self.loaded.end_ids, self.tokens + 1, greedy):
                text = ForcedText(prompts[batch[row]], tuple(ids[: self.tokens]))
                yield batch[row], (text, decoder.mean_state(row))

        decoded = dict(self.batch_size.stream(order, work))
        return [decoded[index] for index in range(len(prompts))]


class _StateRecorder(PlainBatchDecoder):
    """A batch decoder that records the LM head's input at each token of each row."""

    def __init__(
        self, loaded: LoadedModel, anatomy: Anatomy, suffixes: Sequence[Sequence[int]], prefix: PrefixCache
    ) -> None:
        self._layers = anatomy.layers
        recorded: list[torch.Tensor] = []
        with ending_at(loaded.model, self._layers, None, recorded, stop=False):
            batch = prefill(loaded, suffixes, prefix)  # in groups, one after the other
        super().__init__(loaded, batch)
        self._at_prompts = torch.cat([states[:, -1] for states in recorded])
        self._at_tokens: list[list[torch.Tensor]] = [[] for _ in suffixes]

    def append(self, tokens: torch.Tensor) -> None:
        """Append one token, ``(rows,)``, to each remaining row, run it, and record its state."""
        recorded: list[torch.Tensor] = []
        with ending_at(self.loaded.model, self._layers, None, recorded, stop=False):
            super().append(tokens)
        for row, state in zip(self.rows, recorded[0][:, -1], strict=True):
            self._at_tokens[row].append(state)

    def mean_state(self, row: int) -> torch.Tensor:
        """Return the mean ``(d,)`` of a row's states at its answer tokens; without any, the last prompt token's."""
        states = self._at_tokens[row] or [self._at_prompts[row]]
        return torch.stack(states).float().mean(dim=0)


def _mean_state(outputs: TokenOutputs) -> torch.Tensor:
    """Return the mean ``(d,)`` of the states at the answer tokens; without any, the last prompt token's."""
    return outputs.hidden[min(1, len(outputs.hidden) - 1) :].float().mean(dim=0)
