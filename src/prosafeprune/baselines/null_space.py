"""Null-space steering: states of pseudo-harmful prompts move away from refusal, others stay as they are.

The reverse of AlphaSteer (Sheng et al. 2025): there a closed-form map is zero on benign states and moves harmful ones
towards refusal. Here it is zero on benign and harmful states and moves pseudo-harmful ones the other way.

With ``P`` the projection onto the directions in which benign and harmful states ``(d, n)`` have the least energy, ``H``
the pseudo-harmful states ``(d, m)`` and ``r`` the mean benign minus the mean harmful state, the map is ``D = D' P``
with ``D' = argmin |D' P H - r 1^T|^2 + gamma |D' P|^2``. As all targets are the same, it has rank one:
``D = r w^T`` with ``w = X (X^T X + gamma I)^-1 1`` and ``X = P H``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field

from prosafeprune.baselines.candidates import PROMPTS, Validation
from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.errors import NotApplicableError
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.generation.decoding import PlainBatchDecoder
from prosafeprune.generation.prefill import prefill
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.residual_stream import Change, changed_outputs
from prosafeprune.prompts import PromptClass

STEERED = (5 / 28, 20 / 28)
"""The part of the depth whose inputs AlphaSteer steers in Qwen2.5-7B."""
STRENGTHS = (0.1, 0.2, 0.4, 0.8)


class NullSpace(Method):
    """Null-space steering against false refusals (after Sheng et al. 2025)."""

    name: ClassVar[str] = "null-space"
    null_ratio: float = Field(
        0.5, gt=0, lt=1, description="Fraction of the directions that count as the null space: those of least energy."
    )
    ridge: float = Field(0.1, gt=0, description="gamma, relative to the mean squared length of the projected states.")
    strength: float | None = Field(
        None, ge=0, description=f"Factor of the map. Default: the one of {STRENGTHS} with the highest validation T.S."
    )
    validation: int = Field(PROMPTS, ge=1, description="Validation prompts of each class that it is selected by.")

    def fit(self, context: FitContext) -> FittedParts:
        """Compute ``w`` and ``r``, each ``(layers, d)``, of the steered layers, and select the strength."""
        # What enters a layer is the output of the one before.
        first, end = (max(round(part * context.anatomy.num_layers) - 1, 0) for part in STEERED)
        layers = range(first, max(end, first + 1))
        states = {prompt_class: _last_states(context, prompt_class) for prompt_class in PromptClass}
        readers, targets = [], []
        for layer in layers:
            benign, harmful, pseudo_harmful = (
                states[prompt_class][:, layer + 1].double().T for prompt_class in PromptClass
            )
            readers.append(
                null_space_reader(torch.cat([benign, harmful], dim=1), pseudo_harmful, self.null_ratio, self.ridge)
            )
            targets.append(benign.mean(dim=1) - harmful.mean(dim=1))
        tensors = {"readers": torch.stack(readers).float(), "targets": torch.stack(targets).float()}
        facts = {"first_layer": layers[0], "end_layer": layers[-1] + 1}
        if self.strength is not None:
            return FittedParts(tensors, {**facts, "strength": self.strength})
        candidates = {
            str(strength): partial(self._generator, context.loaded, context.batch_size, tensors, layers, strength)
            for strength in STRENGTHS
        }
        best, rates = Validation(context, self.validation).best(candidates, "Null space: strengths")
        return FittedParts(tensors, {**facts, "strength": float(best), "validation": rates})

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that steers each prompt's answer by the states of its last token."""
        layers = range(fitted.facts["first_layer"], fitted.facts["end_layer"])
        return self._generator(loaded, batch_size, fitted.tensors, layers, fitted.facts["strength"])

    @staticmethod
    def _generator(
        loaded: LoadedModel, batch_size: BatchSetting, tensors: dict[str, torch.Tensor], layers: range, strength: float
    ) -> Generator:
        steering = NullSpaceSteering(loaded, layers, tensors["readers"], strength * tensors["targets"])
        make_batches = partial(SteeredPromptBatches, steering=steering)
        return EditedGenerator(LocalGenerator(loaded, batch_size, make_batches), steering.applied)


def null_space_reader(kept: torch.Tensor, moved: torch.Tensor, null_ratio: float, ridge: float) -> torch.Tensor:
    """Return ``w (d,)``: ``w . h`` is near 1 for the states ``moved (d, m)`` and near 0 for ``kept (d, n)``.

    It is exactly 0 for ``kept`` if those span no more than ``1 - null_ratio`` of the directions.

    Args:
        kept: states on which it should vanish.
        moved: states that it should distinguish from them.
        null_ratio: fraction of the ``d`` directions, those in which ``kept`` has the least energy, that it may use.
        ridge: gamma as a fraction of the mean squared length of the projected ``moved``.

    Raises:
        NotApplicableError: nothing of ``moved`` is left.
    """
    basis = torch.linalg.svd(kept, full_matrices=False).U[:, : round((1 - null_ratio) * kept.shape[0])]
    projected = moved - basis @ (basis.T @ moved)
    gram = projected.T @ projected
    gamma = ridge * gram.diagonal().mean()
    if not gamma > 0:
        raise NotApplicableError("Null space: benign and harmful states leave no direction. Use a higher null_ratio.")
    ones = torch.ones(gram.shape[0], dtype=gram.dtype)
    reader: torch.Tensor = projected @ torch.linalg.solve(gram + gamma * torch.eye(len(gram), dtype=gram.dtype), ones)
    return reader


def _last_states(context: FitContext, prompt_class: PromptClass) -> torch.Tensor:
    """Return the states ``(prompts, layers + 1, d)`` that enter each layer at the prompts' last token."""
    encoded = encode_prompts(context.loaded.tokenizer, context.calibration[prompt_class].texts)
    ids = [prompt.ids for prompt in encoded]
    return context.states(ids, [-1], f"Null space: {prompt_class.in_words} states")[:, :, 0]


class NullSpaceSteering:
    """The shifts of the rows that are running; none outside a batch.

    A row's shift of a layer is ``(w . h) r`` with ``h`` the layer's output at the prompt's last token. It is added to
    the output there and at every token of the answer.
    """

    def __init__(self, loaded: LoadedModel, layers: range, readers: torch.Tensor, targets: torch.Tensor) -> None:
        self.loaded, self.layers = loaded, layers
        self.readers, self.targets = readers.to(loaded.device), targets.to(loaded.device)
        self._amounts: dict[int, torch.Tensor] = {}
        """Amounts by layer, ``(rows,)``; NaN for rows whose prompt has not been run."""
        self._rows: torch.Tensor | None = None

    def begin(self, rows: int) -> None:
        """Forget the last batch; the next one has this many rows."""
        self._amounts = {layer: torch.full((rows,), torch.nan, device=self.readers.device) for layer in self.layers}
        self._rows = None

    def watch(self, rows: Sequence[int]) -> None:
        """Set which of the rows run next."""
        self._rows = torch.tensor(rows, device=self.readers.device)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Steer inside the context."""
        modules = find_anatomy(self.loaded.model).layers
        try:
            with changed_outputs({layer: modules[layer] for layer in self.layers}, self._change):
                yield
        finally:
            self._rows = None

    def _change(self, layer: int) -> Change:
        number = layer - self.layers[0]

        def change(states: torch.Tensor) -> torch.Tensor:
            if self._rows is None:
                return states
            amounts = self._amounts[layer][self._rows]
            if bool(amounts.isnan().any()):  # the pass that runs these prompts
                amounts = (states[:, -1].to(self.readers.device).float() @ self.readers[number]).nan_to_num()
                self._amounts[layer][self._rows] = amounts
            shift = (amounts[:, None] * self.targets[number]).to(states.device, states.dtype)
            return torch.cat([states[:, :-1], states[:, -1:] + shift[:, None]], dim=1)

        return change


class SteeredPromptBatches(ChatPromptBatches):
    """Prompts whose batches are steered."""

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[str], max_new_tokens: int, steering: NullSpaceSteering
    ) -> None:
        self.steering = steering
        steering.begin(0)  # the shared prefix is not steered
        super().__init__(loaded, prompts, max_new_tokens)

    def decoder(self, rows: Sequence[int]) -> PlainBatchDecoder:
        """Prefill the prompts with these indices, steered at their last tokens."""
        self.steering.begin(len(rows))
        batch = prefill(self.loaded, self.suffixes(rows), self.prefix, self.steering.watch)
        return PlainBatchDecoder(self.loaded, batch, self.steering.watch)
