"""The internal harmfulness score: how harmful prompts look to the layers from the first pruned one up (5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harm_probe import PROBE_CLASSES, HarmProbe, fit_harm_probe
from prosafeprune.editing.edits import Edit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.submodule import Submodule


class HarmfulnessScale:
    """Probes of the base model's submodules: one scale for every later edit of the model."""

    def __init__(self, context: Context, first_layer: int) -> None:
        """Fit a probe for each submodule from ``first_layer`` up, to benign and harmful calibration prompts (A.1)."""
        self.context = context
        submodules = [one for one in context.anatomy.submodules if one.layer >= first_layer]
        pooled = context.pooled("calibration")
        self.probes: list[tuple[Submodule, HarmProbe]] = []
        with context.reporter.stage("Probes", len(submodules)) as advance:
            for submodule in submodules:
                classes = (pooled.activations(submodule, name) for name in PROBE_CLASSES)
                self.probes.append((submodule, fit_harm_probe(*classes)))
                advance(1)

    def score(self, edits: Sequence[Edit], prompts: Sequence[str]) -> np.ndarray:
        """Return each prompt's mean probability of harm over the submodules of the edited model, ``(prompts,)``.

        Raises:
            InputError: out of memory, or the edited model's activations are not finite.
        """
        context = self.context
        encoded = encode_prompts(context.loaded.tokenizer, prompts)
        layers = sorted({submodule.layer for submodule, _ in self.probes})
        size = BatchSize(context.request.batch_size, context.loaded.device)
        with (
            apply_edits(edits),
            torch.inference_mode(),
            context.reporter.stage("Harmfulness", len(encoded)) as advance,
        ):
            pooling = context.request.pooling
            inputs = collect_pooled_inputs(
                context.loaded.model, context.anatomy, encoded, [pooling], layers, size, advance
            )[pooling]
            total = np.zeros(len(encoded))
            for submodule, probe in self.probes:
                outputs = inputs.outputs(submodule, submodule.weight())
                total += probe.probability(outputs.T.cpu().double().numpy())
        return total / len(self.probes)
