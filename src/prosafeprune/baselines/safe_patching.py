"""Safety Patching (Zhao et al. 2024, arXiv:2405.13820): two sparse patches of the weights from harmful prompts.

Gradient ascent on the answers gives the patch that enhances safety, descent the one against over-safety. Of each,
entries are kept at random; of these, those among the highest SNIP scores ``|W dL/dW|`` of their own patched model and
not among those of the other. The two are added with weights ``alpha`` and ``beta``.

No harmful text is written or generated: the answers are empty affirmative openings, and neither patch is saved alone.
How the parameters are trained, scored and weighted is not known to us in full; weights are selected on validation
prompts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field, field_validator

from prosafeprune.baselines.candidates import PROMPTS, Validation
from prosafeprune.baselines.low_rank import TrainedMethod, edited_generator
from prosafeprune.baselines.method import FitContext, FittedParts
from prosafeprune.editing.edits import LowRankEdit, apply_edits
from prosafeprune.generation import Generator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.training.answer_loss import Example, answer_loss, make_examples
from prosafeprune.training.loop import TrainingStep, memory_named, train
from prosafeprune.training.lora import gradients_restored, lora, trainable_matrices

TRAININGS = ("ascent (safety)", "descent (compliance)")
"""Names of the two trainings, in order; both losses are those of the answers, so the first rises."""
OPENINGS = ("Sure, here is", "Of course. Here is", "Certainly! Here is")
"""Beginnings that say nothing; training answers end there."""
WEIGHTS = ((1.0, 1.0), (1.0, 3.0), (1.0, 10.0), (3.0, 3.0), (3.0, 10.0))
"""Candidates for ``(alpha, beta)``: the weight of the safety patch and of the one against over-safety."""

MOST_COMPLIANCE = 10.0
"""Largest beta over alpha."""


class SafePatching(TrainedMethod):
    """Two sparse patches of the weights, for safety and against over-safety (Zhao et al. 2024)."""

    name: ClassVar[str] = "safe-patching"
    prompts: int = Field(96, ge=1, description="Harmful prompts that are trained on.")
    rank: int = Field(8, ge=1, description="Rank of the adapters that the patches are taken from.")
    learning_rate: float = Field(3e-4, gt=0, description="AdamW's, constant.")
    epochs: int = Field(1, ge=1, description="Passes over the prompts, for either patch.")
    examples_at_once: int = Field(8, ge=1, description="Prompts per update.")
    kept: float = Field(0.3, gt=0, le=1, description="Fraction of a patch's entries that is kept at random (p).")
    top_safety: float = Field(0.1, gt=0, le=1, description="Fraction of each matrix with the highest scores (a).")
    top_compliance: float = Field(0.1, gt=0, le=1, description="The same for the patch against over-safety (b).")
    weights: tuple[float, float] | None = Field(
        None, description="alpha and beta, such as 1,3. Default: the pair with the highest validation T.S."
    )
    validation: int = Field(PROMPTS, ge=1, description="Validation prompts of each class that they are selected by.")

    @field_validator("weights", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        parts = tuple(value.split(",")) if isinstance(value, str) else value
        if isinstance(parts, tuple) and len(parts) != 2:
            raise ValueError("must be two numbers, such as 1,3")
        return parts

    @field_validator("weights")
    @classmethod
    def _require_both(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        """The patch against over-safety alone takes refusals away, and what is fitted is written to disk."""
        if value is not None and not (value[0] > 0 and 0 < value[1] <= MOST_COMPLIANCE * value[0]):
            raise ValueError(f"both must be positive, and beta at most {MOST_COMPLIANCE:g} times alpha")
        return value

    def fit(self, context: FitContext) -> FittedParts:
        """Train both patches, find the entries of either, and select the weights."""
        loaded = context.loaded
        matrices = trainable_matrices(context.anatomy)
        texts = context.calibration[PromptClass.HARMFUL].sample(self.prompts, context.seed).texts
        examples = make_examples(loaded, texts, OPENINGS, [False] * len(OPENINGS))
        sides = ((-1.0, self.top_safety), (1.0, self.top_compliance))
        patches = [self._patch(context, matrices, examples, sign, top) for sign, top in sides]
        entries = [self._entries(matrix, patches, context.seed) for matrix in matrices]
        facts = {
            "entries": [sum(len(pair[side].index) for pair in entries) for side in (0, 1)],
            "losses": {
                name: [round(sign * step.loss, 4) for step in patch.steps]
                for name, (sign, _), patch in zip(TRAININGS, sides, patches, strict=True)
            },
        }
        if self.weights is not None:
            return FittedParts(_tensors(_weighted(matrices, entries, self.weights)), facts)

        def patched(weights: tuple[float, float]) -> Generator:
            return edited_generator(context.loaded, context.batch_size, _weighted(matrices, entries, weights))

        candidates = {f"{weights[0]:g}, {weights[1]:g}": partial(patched, weights) for weights in WEIGHTS}
        best, rates = Validation(context, self.validation).best(candidates, "Safety Patching: weights")
        chosen = WEIGHTS[list(candidates).index(best)]
        edits = _weighted(matrices, entries, chosen)
        return FittedParts(_tensors(edits), {**facts, "weights": list(chosen), "validation": rates})

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return the context of the patched model."""
        matrices = trainable_matrices(find_anatomy(loaded.model))
        tensors = fitted.tensors
        edits = [
            SparseEdit(matrix, tensors[f"{matrix.name}.index"], tensors[f"{matrix.name}.value"]) for matrix in matrices
        ]
        return partial(apply_edits, edits)

    def _patch(
        self, context: FitContext, matrices: Sequence[Submodule], examples: Sequence[Example], sign: float, top: float
    ) -> _Patch:
        """Train by descent (``sign`` 1) or ascent (-1), then find the ``top`` fraction of each patched matrix.

        The training is not saved: half of it alone, the descent, would be an adapter that lost refusals.
        """
        loaded = context.loaded
        title = "Safety Patching: " + ("compliance" if sign > 0 else "safety")
        with (
            lora(loaded.model, matrices, self.rank, context.seed) as training,
            context.reporter.stage(title, self.epochs * len(examples)) as advance,
        ):
            steps = train(
                training.parameters,
                examples,
                lambda batch: sign * answer_loss(loaded, batch),
                self.tuning(context.seed),
                advance,
            )
            edits = training.learned()
        with apply_edits(edits), context.reporter.stage(f"{title}, scores", len(examples)) as advance:
            scores = snip_scores(loaded, matrices, examples, self.examples_at_once)
            tops = {name: top_entries(values, top) for name, values in scores}
            advance(len(examples))
        return _Patch({edit.submodule.name: edit for edit in edits}, tops, steps)

    def _entries(self, matrix: Submodule, patches: Sequence[_Patch], seed: int) -> tuple[SparseEntries, SparseEntries]:
        """Return the entries of the safety patch and of the one against over-safety, of one matrix."""
        name = matrix.name
        draws = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        found = []
        for patch, other in (patches, reversed(patches)):
            change = patch.edits[name].change
            delta = (change.b @ change.a).cpu().flatten()
            kept = torch.rand(len(delta), generator=draws) < self.kept
            index = (patch.tops[name] & ~other.tops[name] & kept).nonzero().flatten()
            found.append(SparseEntries(index.to(torch.int32), delta[index]))
        return found[0], found[1]


@dataclass(frozen=True)
class SparseEntries:
    """Some entries of a matrix: flat indices ``(n,)``, int32, and values ``(n,)``."""

    index: torch.Tensor
    value: torch.Tensor


@dataclass(frozen=True)
class SparseEdit:
    """Values added to some entries of a matrix. No writer accepts it."""

    submodule: Submodule
    index: torch.Tensor
    """Flat indices into ``W (d_out, d_in)``."""
    value: torch.Tensor

    def edited(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with the values added."""
        index, value = self.index.to(weight.device), self.value.to(weight.device)
        return weight.flatten().index_add(0, index, value).view_as(weight)


@dataclass(frozen=True)
class _Patch:
    """A trained patch, with the entries ``(d_out * d_in,)`` of each matrix that have the highest scores, by name."""

    edits: Mapping[str, LowRankEdit]
    tops: Mapping[str, torch.Tensor]
    steps: Sequence[TrainingStep]


def snip_scores(
    loaded: LoadedModel, matrices: Sequence[Submodule], examples: Sequence[Example], at_once: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each matrix's name with ``|W dL/dW|`` of its entries, flattened; L is the mean loss of the batches.

    Takes as much memory again as the matrices, for their gradients.
    """
    parameters = {matrix.name: getattr(matrix.module, matrix.parameter) for matrix in matrices}
    batches = [examples[start : start + at_once] for start in range(0, len(examples), at_once)]
    with gradients_restored(loaded.model):
        loaded.model.requires_grad_(False)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        with torch.enable_grad(), memory_named():
            for batch in batches:
                (answer_loss(loaded, batch) / len(batches)).backward()
        for matrix in matrices:
            yield matrix.name, (matrix.weight() * matrix.take(parameters[matrix.name].grad)).abs().cpu().flatten()


def top_entries(scores: torch.Tensor, fraction: float) -> torch.Tensor:
    """Return which of ``scores (n,)`` are among the highest ``fraction``, ``(n,)``."""
    found = torch.zeros(len(scores), dtype=torch.bool)
    found[scores.topk(round(fraction * len(scores))).indices] = True
    return found


def _weighted(
    matrices: Sequence[Submodule], entries: Sequence[tuple[SparseEntries, SparseEntries]], weights: tuple[float, float]
) -> list[SparseEdit]:
    edits = []
    for matrix, sides in zip(matrices, entries, strict=True):
        values = [weight * side.value for side, weight in zip(sides, weights, strict=True)]
        edits.append(SparseEdit(matrix, torch.cat([side.index for side in sides]), torch.cat(values)))
    return edits


def _tensors(edits: Sequence[SparseEdit]) -> dict[str, torch.Tensor]:
    tensors = {f"{edit.submodule.name}.index": edit.index for edit in edits}
    return tensors | {f"{edit.submodule.name}.value": edit.value for edit in edits}
