"""Memory and disk that a run with one layer in memory will need, reported before it begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from prosafeprune.method.plan import Plan
from prosafeprune.model import storage
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.chat_template import EncodedPrompt
from prosafeprune.model.prefix_cache import shared_prefix_length
from prosafeprune.streaming.meta_model import MetaModel
from prosafeprune.streaming.streamed_weights import StreamedWeights
from prosafeprune.text import data_size

FLOAT32 = 4
COPIES_OF_A_MATRIX = 5
"""Float32 copies while one matrix is edited: the matrix, the change, the change times the strength, and the result."""
COPIES_OF_A_BATCH = 6
"""Copies of the widest intermediate result of a layer for each token of a batch."""
LEAST_FOR_A_BATCH = 2**29
"""Bytes that a batch may take whatever an edit takes."""


@dataclass(frozen=True)
class Needs:
    """Bytes, not counting Python and its libraries."""

    layer: int
    """Size of the largest decoder layer, as stored and (if different) as run."""
    edit: int
    """Working memory of the edit of the largest matrix."""
    batch: int
    """Working memory of one batch."""
    states: int
    """Hidden states of all prompts between two layers."""
    spilled: bool
    """Whether the hidden states go to a temporary file."""
    checkpoint: int
    """Size of the checkpoint, which is read and written once."""

    @property
    def memory(self) -> int:
        """Peak memory."""
        return self.layer + max(self.edit, self.batch) + (0 if self.spilled else self.states)

    def describe(self) -> list[str]:
        """Return lines for a reader."""
        where = "in a temporary file" if self.spilled else "in memory"
        return [
            f"Needs about {data_size(self.memory)} of memory in addition to Python and its libraries: "
            f"{data_size(self.layer)} for a layer, {data_size(max(self.edit, self.batch))} of working memory;",
            f"  hidden states of the prompts: {data_size(self.states)}, {where}; "
            f"disk: {data_size(self.checkpoint)}; reading: {data_size(self.checkpoint)}, each byte once.",
        ]


def edit_bytes(largest_matrix: int) -> int:
    """Return the working memory of the edit of a matrix with that many elements."""
    return largest_matrix * FLOAT32 * COPIES_OF_A_MATRIX


def row_bytes(tokens: float, widest: int) -> float:
    """Return the working memory of one prompt of a batch, given the tokens of the longest and a layer's widest side."""
    return tokens * widest * FLOAT32 * COPIES_OF_A_BATCH


def rows_within(edit: float, row: float) -> int:
    """Return how many prompts to run at a time, at most, so that they take no more memory than an edit; at least 1."""
    return max(1, int(max(edit, LEAST_FOR_A_BATCH) / row))


def most_rows(meta: MetaModel, anatomy: Anatomy, prompts: Sequence[EncodedPrompt]) -> int:
    """Return :func:`rows_within` for a model and the prompts that run through it."""
    edit, row, _ = _working(meta, anatomy, prompts)
    return rows_within(edit, row)


def estimate_needs(
    meta: MetaModel, anatomy: Anatomy, weights: StreamedWeights, plan: Plan, prompts: Sequence[EncodedPrompt], size: int
) -> Needs:
    """Return the estimated needs of a run.

    Args:
        size: how many prompts run at a time.
    """
    stored = weights.checkpoint.stored
    layers = range(max(plan.layers) + 1)
    largest = max(sum(stored[name].end - stored[name].start for name in weights.of_layer(layer)) for layer in layers)
    is_copied = meta.run_dtype != meta.stored_dtype or meta.device.type != "cpu"
    edit, row, tokens = _working(meta, anatomy, prompts)
    states = tokens * int(meta.model.config.get_text_config(decoder=True).hidden_size) * meta.run_dtype.itemsize
    return Needs(
        layer=largest * (2 if is_copied else 1),
        edit=edit,
        batch=int(min(size, len(prompts)) * row),
        states=states,
        spilled=states > storage.KEPT_IN_MEMORY,
        checkpoint=sum(tensor.end - tensor.start for tensor in stored.values()),
    )


def _working(meta: MetaModel, anatomy: Anatomy, prompts: Sequence[EncodedPrompt]) -> tuple[int, float, int]:
    """Return the bytes of an edit and of a prompt of a batch, and the tokens of all prompts, their prefix once."""
    shapes = [submodule.shape for submodule in anatomy.submodules]
    prefix = shared_prefix_length(meta.model, [prompt.ids for prompt in prompts], "right")
    suffixes = [len(prompt) - prefix for prompt in prompts]
    edit = edit_bytes(max(d_out * d_in for d_out, d_in in shapes))
    return edit, row_bytes(max(suffixes), max(max(shape) for shape in shapes)), sum(suffixes) + prefix
