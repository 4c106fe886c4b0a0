"""The silhouette of every submodule and layer (section 3.3, Figure 2)."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.errors import InputError
from prosafeprune.method.separability import silhouette
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance, ignore
from prosafeprune.prompts.prompt_set import PromptClass


def silhouettes(
    inputs: PooledInputs,
    submodules: Sequence[Submodule],
    class_rows: Mapping[PromptClass, Sequence[int]],
    advance: Advance = ignore,
) -> dict[str, float]:
    """Return for each submodule, by name, the mean silhouette of the classes in its pooled outputs (Eq. 4).

    Args:
        inputs: pooled inputs of these submodules.
        submodules: the submodules to score; not experts, which only some prompts reach.
        class_rows: the rows of each class; at least two classes, one with two prompts or more.
        advance: called after each submodule.

    Raises:
        InputError: too few prompts or classes.
    """
    rows = [row for of_class in class_rows.values() for row in of_class]
    labels = np.array([name.value for name, of_class in class_rows.items() for _ in of_class])
    if not 2 <= len(set(labels)) < len(labels):
        raise InputError("Separability needs at least two classes of prompts, and more prompts than classes.")
    found = {}
    for submodule in submodules:
        outputs = inputs.outputs(submodule, submodule.weight(), rows)
        found[submodule.name] = silhouette(outputs.T.detach().cpu().numpy(), labels)
        advance(1)
    return found


def layer_silhouettes(submodules: Sequence[Submodule], by_submodule: Mapping[str, float]) -> dict[int, float]:
    """Return for each layer, in order, the mean silhouette of its submodules (Figure 2)."""
    layers: dict[int, list[float]] = {}
    for submodule in sorted(submodules, key=lambda submodule: submodule.layer):
        layers.setdefault(submodule.layer, []).append(by_submodule[submodule.name])
    return {layer: statistics.fmean(values) for layer, values in layers.items()}
