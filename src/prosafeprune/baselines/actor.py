"""ACTOR (Dabas et al. 2025, arXiv:2507.04250): one layer is trained to shift prompts' states, without any answers.

With ``a`` the output of layer l* at a prompt's last token and ``R`` the mean harmful minus the mean benign state
there, recomputed before each epoch, a prompt's target is ``a - alpha Proj_R(a)`` for pseudo-harmful and benign prompts
and ``a + alpha Proj_R(a)`` for harmful ones, without a separate gradient. The loss is ``1 - cos(a, target)``.

Here layer l* is trained through a LoRA adapter of its matrices. The middle layer is the one of the middle third whose
states have the highest silhouette; of several alphas, one is selected on validation prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field, field_validator
from torch.nn import functional

from prosafeprune.baselines.candidates import PROMPTS, Validation
from prosafeprune.baselines.low_rank import LowRankMethod, edited_generator, factor_tensors
from prosafeprune.baselines.method import FitContext, FittedParts
from prosafeprune.editing.edits import LowRankEdit
from prosafeprune.errors import InputError
from prosafeprune.method.separability import silhouette
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import pad_batch, run_batch
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.partial_pass import EndReached, Forms, beginning_at, ending_at, reads_earlier_keys, recording
from prosafeprune.prompts import PromptClass
from prosafeprune.training.loop import train
from prosafeprune.training.lora import lora, trainable_matrices

ALPHAS = (0.1, 0.25, 0.5, 1.0)
"""Candidates; 0.25 was the lowest once, and selected, so there is a lower one."""
AT_ONCE = 32
"""Prompts of a pass without gradients."""


class ActorPrompt(NamedTuple):
    """A training prompt."""

    ids: tuple[int, ...]
    prompt_class: PromptClass


class Actor(LowRankMethod):
    """Targeted representation fine-tuning (Dabas et al. 2025)."""

    name: ClassVar[str] = "actor"
    prompts: int = Field(64, ge=2, description="Prompts of each class.")
    alpha: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        ALPHAS,
        min_length=1,
        description="Size of the shifts; of several, such as 0.25,0.5, the one with the highest validation T.S.",
    )
    layer: int | None = Field(None, ge=0, description="The trained layer. Default: by silhouettes.")
    rank: int = Field(16, ge=1, description="Rank of the adapter.")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's, constant.")
    epochs: int = Field(3, ge=1, description="Passes over the prompts.")
    examples_at_once: int = Field(8, ge=1, description="Prompts per update.")
    validation: int = Field(PROMPTS, ge=1, description="Validation prompts of each class that alpha is selected by.")

    @field_validator("alpha", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(value.split(","))
        return (value,) if isinstance(value, int | float) else value

    @field_validator("alpha")
    @classmethod
    def _without_repeats(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(dict.fromkeys(value))

    def fit(self, context: FitContext) -> FittedParts:
        """Train the layer for each alpha, and select one."""
        layers = context.anatomy.num_layers
        if self.layer is not None and self.layer >= layers:
            raise InputError(f"ACTOR: there is no layer {self.layer}. The model's layers are 0 to {layers - 1}.")
        prompts = self._prompts(context)
        layer = self.layer if self.layer is not None else middle_layer(context, prompts)
        loss = ShiftLoss(context.loaded, context.anatomy, layer, prompts)
        trained = {str(alpha): self._train(context, loss, alpha) for alpha in self.alpha}
        facts: dict[str, Any] = {"layer": layer}
        best = str(self.alpha[0])
        if len(self.alpha) > 1:
            loaded, size = context.loaded, context.batch_size
            candidates = {
                name: partial(edited_generator, loaded, size, candidate.edits) for name, candidate in trained.items()
            }
            best, rates = Validation(context, self.validation).best(candidates, "ACTOR: alphas")
            facts |= {"alpha": float(best), "validation": rates}
        return FittedParts(factor_tensors(trained[best].edits), {**facts, "losses": trained[best].losses})

    def _prompts(self, context: FitContext) -> list[ActorPrompt]:
        found = []
        for prompt_class in PromptClass:
            texts = context.calibration[prompt_class].sample(self.prompts, context.seed).texts
            found += [
                ActorPrompt(prompt.ids, prompt_class) for prompt in encode_prompts(context.loaded.tokenizer, texts)
            ]
        return found

    def _train(self, context: FitContext, loss: ShiftLoss, alpha: float) -> _Trained:
        loss.alpha, prompts = alpha, loss.prompts
        matrices = [matrix for matrix in trainable_matrices(context.anatomy) if matrix.layer == loss.layer]
        with (
            lora(context.loaded.model, matrices, self.rank, context.seed) as training,
            context.reporter.stage(f"ACTOR: training, alpha {alpha}", self.epochs * len(prompts)) as advance,
        ):
            file = context.progress_file(f"actor-{alpha}.safetensors")
            steps = train(
                training.parameters,
                prompts,
                loss,
                self.tuning(context.seed),
                advance,
                before_epoch=loss.find_direction,
                saved_in=file,
                after_save=context.clock.save,
            )
            return _Trained(training.learned(), [round(step.loss, 6) for step in steps])


@dataclass(frozen=True)
class _Trained:
    edits: list[LowRankEdit]
    losses: list[float]


class ShiftLoss:
    """The loss of a batch of prompts.

    Only one layer is trained, so what enters it is computed once for each prompt; not where layers read keys and values
    of earlier ones (Gemma 4), which then have to run.
    """

    def __init__(
        self, loaded: LoadedModel, anatomy: Anatomy, layer: int, prompts: Sequence[ActorPrompt], alpha: float = 1.0
    ) -> None:
        self.loaded, self.anatomy, self.layer, self.prompts, self.alpha = loaded, anatomy, layer, prompts, alpha
        self.direction = torch.empty(0)
        self._forms: Forms = {}
        self._runs_all = reads_earlier_keys(loaded.model)
        self._entering = {} if self._runs_all else self._run_below()

    @torch.no_grad()
    def find_direction(self) -> None:
        """Recompute the unit vector ``R (d,)`` with the layer as it is now."""
        means = []
        for prompt_class in (PromptClass.HARMFUL, PromptClass.BENIGN):
            ids = [prompt.ids for prompt in self.prompts if prompt.prompt_class is prompt_class]
            chunks = [self._states(ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE)]
            means.append(torch.cat(chunks).mean(dim=0))
        self.direction = functional.normalize(means[0] - means[1], dim=0)

    def __call__(self, batch: Sequence[ActorPrompt]) -> torch.Tensor:
        """Return the mean of ``1 - cos(a, target)``."""
        states = self._states([prompt.ids for prompt in batch])
        signs = [1.0 if prompt.prompt_class is PromptClass.HARMFUL else -1.0 for prompt in batch]
        targets = shifted(states.detach(), self.direction, self.alpha * torch.tensor(signs, device=states.device))
        return (1 - functional.cosine_similarity(states, targets, dim=-1)).mean()

    @torch.no_grad()
    def _run_below(self) -> dict[tuple[int, ...], torch.Tensor]:
        """Return what enters the layer, ``(tokens, d)``, by the prompts' token ids."""
        ids, layers, found = [prompt.ids for prompt in self.prompts], self.anatomy.layers, {}
        for start in range(0, len(ids), AT_ONCE):
            chunk = ids[start : start + AT_ONCE]
            with recording(layers, [self.layer], self._forms) as entered:
                self._run(chunk)
            found.update(
                {prompt: states[-len(prompt) :] for prompt, states in zip(chunk, entered[self.layer], strict=True)}
            )
        return found

    def _states(self, ids: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Return the layer's outputs ``(rows, d)`` at the last token of each prompt, float32."""
        if self._runs_all:
            return self._run(ids)[:, -1].float()
        width = max(map(len, ids))
        rows = [functional.pad(self._entering[prompt], (0, 0, width - len(prompt), 0)) for prompt in ids]
        with beginning_at(self.anatomy.layers, self.layer, torch.stack(rows), self._forms):
            return self._run(ids)[:, -1].float()

    def _run(self, ids: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Return the layer's outputs ``(rows, tokens, d)``, padded on the left."""
        model, leaving = self.loaded.model, list[torch.Tensor]()
        batch = pad_batch(ids, 0, "left", self.loaded.device)
        with ending_at(model, self.anatomy.layers, self.layer, leaving, stop=True), suppress(EndReached):
            run_batch(model, batch, batch.full_mask, None)
        return leaving[0]


def shifted(states: torch.Tensor, direction: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Return ``a + amount Proj_R(a)`` for ``states (rows, d)``, a unit ``direction (d,)`` and ``amounts (rows,)``."""
    return states + (amounts * (states @ direction))[:, None] * direction


def middle_layer(context: FitContext, prompts: Sequence[ActorPrompt]) -> int:
    """Return the layer of the middle third after which the classes' last-token states have the highest silhouette."""
    layers = context.anatomy.num_layers
    middle = range(layers // 3, max(2 * layers // 3, layers // 3 + 1))
    states = context.states([prompt.ids for prompt in prompts], [-1], "ACTOR: states")
    labels = np.array([prompt.prompt_class.value for prompt in prompts])
    scores = {layer: silhouette(states[:, layer + 1, 0].numpy(), labels) for layer in middle}
    return max(scores, key=lambda layer: scores[layer])
