"""What a run that holds one layer at a time will need, told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prosafeprune.method.plan import Plan
from prosafeprune.model import storage
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.chat import EncodedPrompt
from prosafeprune.model.prefix_cache import shared_prefix_length
from prosafeprune.streaming.meta_model import MetaModel
from prosafeprune.streaming.streamed_weights import StreamedWeights

FLOAT32 = 4
COPIES_OF_A_MATRIX = 5
"""In float32, while one matrix is edited: itself, what is taken away, that times the strength, and the result."""
COPIES_OF_A_BATCH = 6
"""Of the widest thing that a layer computes for each token of a batch."""


@dataclass(frozen=True)
class Needs:
    """Bytes, apart from what Python and its libraries take."""

    layer: int
    """The largest decoder layer, as stored and as run."""
    edit: int
    """Working memory of the edit of the largest matrix."""
    batch: int
    """Working memory of one batch."""
    states: int
    """Hidden states of all prompts between two layers."""
    spilled: bool
    """Whether these lie in a temporary file."""
    disk: int
    """The checkpoint to be written."""
    reading: int
    """What is read of the source."""

    @property
    def memory(self) -> int:
        """What must be in memory at once, at most."""
        return self.layer + max(self.edit, self.batch) + (0 if self.spilled else self.states)

    def describe(self) -> list[str]:
        """Return lines for a reader."""
        where = "in a temporary file" if self.spilled else "in memory"
        return [
            f"Needs about {_size(self.memory)} of memory beside Python and its libraries: a layer of "
            f"{_size(self.layer)}, and {_size(max(self.edit, self.batch))} to work in;",
            f"  hidden states of the prompts: {_size(self.states)}, {where}; "
            f"disk: {_size(self.disk)}; reading: {_size(self.reading)}, each byte once.",
        ]


def estimate_needs(
    meta: MetaModel, anatomy: Anatomy, weights: StreamedWeights, plan: Plan, prompts: Sequence[EncodedPrompt], size: int
) -> Needs:
    """Return what a run will need.

    Args:
        meta: the model.
        anatomy: its layers.
        weights: its weights on disk.
        plan: its layers are edited.
        prompts: that pass through the layers.
        size: prompts run at a time.
    """
    places = weights.checkpoint.places
    layers = range(max(plan.layers) + 1)
    largest = max(sum(places[name].end - places[name].start for name in weights.of_layer(layer)) for layer in layers)
    is_copied = meta.run_dtype != meta.stored_dtype or meta.device.type != "cpu"
    shapes = [submodule.shape for submodule in anatomy.submodules]
    head = shared_prefix_length(meta.model, [prompt.ids for prompt in prompts], "right")
    tails = [len(prompt) - head for prompt in prompts]
    width = int(meta.model.get_input_embeddings().weight.shape[1])
    states = (sum(tails) + head) * width * meta.run_dtype.itemsize
    widest = max(max(shape) for shape in shapes)
    total = sum(place.end - place.start for place in places.values())
    return Needs(
        layer=largest * (2 if is_copied else 1),
        edit=max(d_out * d_in for d_out, d_in in shapes) * FLOAT32 * COPIES_OF_A_MATRIX,
        batch=min(size, len(prompts)) * max(tails) * widest * FLOAT32 * COPIES_OF_A_BATCH,
        states=states,
        spilled=states > storage.KEPT_IN_MEMORY,
        disk=total,
        reading=total,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
