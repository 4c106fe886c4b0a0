"""SCAN (Cao et al. 2025, "SCANS"): steering towards or away from refusal, by how the model itself
classifies each prompt.

The steering vector of a layer is the normalised difference of mean hidden states, at the last token of the prompt,
between harmful and benign anchors. The class of a prompt comes from its transition: the hidden state where the user's
turn ends minus that at the end of an appended "Sure". When its cosine with the mean transition of the harmful anchors,
averaged over layers, reaches the threshold, the prompt counts as harmful and the vectors are added; else subtracted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch.nn import functional

from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.baselines.published_prompts import SCAN_AGREEMENT
from prosafeprune.errors import InputError
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.generation.decoding import PlainBatchDecoder
from prosafeprune.generation.prefill import prefill
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import EncodedPrompt, encode_prompts
from prosafeprune.model.hidden_states import batch_hidden_states, hidden_states
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.model.residual_stream import Change, changed_outputs
from prosafeprune.prompts import PromptClass

STEERED = {(6e9, 9e9): (10, 20), (12e9, 15e9): (16, 26)}
"""Parameter range of a model and its steered layers (end exclusive), as appendix B of the
ProSafePrune paper gives them for SCAN. (SCAN's own code steers 10-19 by default.)"""
SCALED = (10 / 32, 20 / 32)
"""For other sizes: the same fractions of the depth as in the 7 B model with its 32 layers."""


class Scan(Method):
    """Safety-conscious activation steering (Cao et al. 2025)."""

    name: ClassVar[str] = "scan"
    multiplier: float = Field(3.5, ge=0, description="Length of the vector that is added or subtracted.")
    threshold: float = Field(0.75, ge=-1, le=1, description="Mean cosine from which a prompt counts as harmful.")
    anchors: int = Field(64, ge=1, description="Prompts of each class that the vectors are computed from.")
    first_layer: int | None = Field(None, ge=0, description="First steered layer; by default, from the model's size.")
    end_layer: int | None = Field(
        None, ge=1, description="Layer after the last steered one; by default, from the model's size."
    )

    def fit(self, context: FitContext) -> FittedParts:
        """Compute the steering vectors and the mean harmful transitions ``(layers, d)``."""
        loaded = context.loaded
        layers = context.anatomy.num_layers
        first, end = self.layers(loaded, layers)
        classes = (PromptClass.HARMFUL, PromptClass.BENIGN)
        anchors = [context.calibration[prompt_class].sample(self.anchors, context.seed) for prompt_class in classes]
        prompts = _Prompts(loaded, [text for prompt_set in anchors for text in prompt_set.texts])
        with context.reporter.stage("SCAN: anchors", len(prompts.agreed)) as advance:
            states = hidden_states(loaded, prompts.agreed, prompts.positions, context.forward_size, advance).double()
        last, turn_end, agreed = states[:, 1:].unbind(dim=2)  # behind each layer; (prompts, layers, d)
        harmful = len(anchors[0])
        vectors = last[:harmful].mean(dim=0) - last[harmful:].mean(dim=0)
        by_prompt = turn_end - agreed
        transitions = by_prompt[:harmful].mean(dim=0)
        cosines = mean_cosines(by_prompt, transitions, first)
        self._warn(context, cosines)
        return FittedParts(
            {"vectors": functional.normalize(vectors, dim=-1).float(), "transitions": transitions.float()},
            {
                "first_layer": first,
                "end_layer": end,
                "anchors": [len(prompt_set) for prompt_set in anchors],
                "cosines_of_harmful": _spread(cosines[:harmful]),
                "cosines_of_benign": _spread(cosines[harmful:]),
            },
        )

    def _warn(self, context: FitContext, cosines: torch.Tensor) -> None:
        """Warn if the threshold puts all anchors on one side."""
        harmful = int((cosines >= self.threshold).sum())
        if harmful in (0, len(cosines)):
            low, _, high = _spread(cosines)
            context.reporter.warning(
                f"SCAN classifies {'every' if harmful else 'no'} anchor as harmful, benign ones included: cosines are "
                f"between {low} and {high}, the threshold is {self.threshold}. It will steer all prompts the same way."
            )

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that classifies each prompt and steers its answer."""
        steering = Steering(loaded, self, fitted)
        reading = partial(ClassifiedPromptBatches, steering=steering)
        return EditedGenerator(LocalGenerator(loaded, batch_size, reading), steering.applied)

    def layers(self, loaded: LoadedModel, layers: int) -> tuple[int, int]:
        """Return the first steered layer and the one after the last, of a model with ``layers`` layers."""
        parameters = loaded.model.num_parameters()
        published = [steered for (low, high), steered in STEERED.items() if low <= parameters <= high]
        scaled = tuple(round(part * layers) for part in SCALED)
        first, end = published[0] if published and published[0][1] <= layers else scaled
        first = first if self.first_layer is None else self.first_layer
        end = max(end, first + 1) if self.end_layer is None else self.end_layer
        if not first < end <= layers:
            raise InputError(f"SCAN: layers {first} to {end - 1} cannot be steered: the model has {layers}.")
        return first, end


def mean_cosines(by_prompt: torch.Tensor, transitions: torch.Tensor, first: int) -> torch.Tensor:
    """Return each prompt's cosine ``(prompts,)`` with the mean harmful transition, averaged from a layer on.

    Args:
        by_prompt: transitions ``(prompts, layers, d)``.
        transitions: their mean over the harmful anchors ``(layers, d)``.
        first: the first steered layer.
    """
    return (
        functional.cosine_similarity(by_prompt[:, first:], transitions[None, first:], dim=-1).nan_to_num().mean(dim=1)
    )


def _spread(cosines: torch.Tensor) -> list[float]:
    """Return minimum, median and maximum."""
    return [round(float(cosine), 4) for cosine in (cosines.min(), cosines.median(), cosines.max())]


class Steering:
    """The steering of the rows that are running; none outside a batch."""

    def __init__(self, loaded: LoadedModel, scan: Scan, fitted: FittedParts) -> None:
        self.loaded, self.scan = loaded, scan
        self.layers = range(fitted.facts["first_layer"], fitted.facts["end_layer"])
        self.vectors = fitted.tensors["vectors"].to(loaded.device)
        self.transitions = fitted.tensors["transitions"].to(loaded.device)
        self._signs = self._steered_tail = torch.empty(0)
        self._running: torch.Tensor | None = None

    def harmful(self, turn_ends: torch.Tensor, agreed: torch.Tensor) -> torch.Tensor:
        """Return which prompts count as harmful, ``(rows,)``, by the states after all layers ``(rows, layers, d)``."""
        return mean_cosines(turn_ends - agreed, self.transitions, self.layers[0]) >= self.scan.threshold

    def set_rows(self, harmful: torch.Tensor, steered_tail: Sequence[int]) -> None:
        """Set the rows of a batch: which are harmful, and how many of the last tokens of each prompt are steered."""
        self._signs = harmful.float() * 2 - 1
        self._steered_tail = torch.tensor(steered_tail, device=self._signs.device)

    def watch(self, rows: Sequence[int]) -> None:
        """Set which of the rows run next."""
        self._running = torch.tensor(rows, device=self._signs.device)

    def rest(self) -> None:
        """Steer nothing."""
        self._running = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Steer the layers' outputs inside the context."""
        layers = find_anatomy(self.loaded.model).layers
        try:
            with changed_outputs({number: layers[number] for number in self.layers}, self._change):
                yield
        finally:
            self.rest()

    def _change(self, layer: int) -> Change:
        vector = self.scan.multiplier * self.vectors[layer]

        def change(states: torch.Tensor) -> torch.Tensor:
            if self._running is None:
                return states
            # In a model spread over several GPUs, the layer may be on another one.
            signs, steered_tail, here = (
                tensor.to(states.device)
                for tensor in (self._signs[self._running], self._steered_tail[self._running], vector)
            )
            tokens = torch.arange(states.shape[1], device=states.device)
            # Prompts are padded on the left; a token of the answer, run alone, is always steered.
            steered = tokens >= states.shape[1] - steered_tail[:, None]
            return states + ((signs[:, None] * steered)[..., None] * here).to(states.dtype)

        return change


class ClassifiedPromptBatches:
    """Prompts that are classified when their decoder is made."""

    def __init__(self, loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int, steering: Steering) -> None:
        self.loaded, self.steering = loaded, steering
        self.prompts = _Prompts(loaded, prompts)
        self.lengths = [len(prompt) for prompt in self.prompts.encoded]
        self.cache_length = max(self.lengths, default=0) + max_new_tokens
        # Steering differs between prompts, so the shared prefix must end before the steered tokens.
        ends = [length - tail for length, tail in zip(self.lengths, self.prompts.tails, strict=True)]
        steering.rest()
        ids = [prompt.ids for prompt in self.prompts.encoded]
        self.prefix = PrefixCache(loaded.model, ids, max_new_tokens, at_most=min(ends, default=0))

    def decoder(self, rows: Sequence[int]) -> PlainBatchDecoder:
        """Classify some of the prompts, and prefill them steered."""
        prompts, steering, start = self.prompts, self.steering, self.prefix.length
        steering.rest()
        agreed = [prompts.agreed[row][start:] for row in rows]
        states = batch_hidden_states(agreed, self.prefix, [prompts.positions[row] for row in rows])
        _, turn_ends, ends = states[:, 1:].unbind(dim=2)
        steering.set_rows(steering.harmful(turn_ends, ends), [prompts.tails[row] for row in rows])
        tails = [prompts.encoded[row].ids[start:] for row in rows]
        return PlainBatchDecoder(self.loaded, prefill(self.loaded, tails, self.prefix, steering.watch), steering.watch)


class _Prompts:
    """Prompts with "Sure" appended, and the token positions whose states are used."""

    def __init__(self, loaded: LoadedModel, prompts: Sequence[str]) -> None:
        appended = tuple(loaded.tokenizer(SCAN_AGREEMENT, add_special_tokens=False)["input_ids"])
        self.encoded = encode_prompts(loaded.tokenizer, prompts)
        self.agreed = [prompt.ids + appended for prompt in self.encoded]
        self.tails = [len(prompt) - turn_end(prompt, loaded.end_ids) for prompt in self.encoded]
        """Tokens of each prompt from the one that ends the user's turn on."""
        self.positions = [(-len(appended) - 1, -len(appended) - tail, -1) for tail in self.tails]
        """The last token of the prompt, the one that ends the user's turn, and the last of "Sure"."""


def turn_end(prompt: EncodedPrompt, end_ids: Sequence[int]) -> int:
    """Return the index of the token that ends the user's turn: an end token or, if there is none, the prompt's last.

    As in the published code: ``<|im_end|>`` for Qwen and the last token of ``[/INST]`` for LLaMA-2.
    """
    for index in range(prompt.user_end, len(prompt)):
        if prompt.ids[index] in end_ids:
            return index
    return len(prompt) - 1
