"""The memory that a run takes on its device, estimated from prompts and config.json alone."""

from dataclasses import dataclass

from prosafeprune.judges.base_model_likelihood import LOGITS_AT_ONCE
from prosafeprune.method.plan import Plan
from prosafeprune.model.batches import FIRST_BATCH
from prosafeprune.model.storage import KEPT_IN_MEMORY
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.model_size import ModelShape, ModelSize
from prosafeprune.setup.prepare import PreparedRun
from prosafeprune.setup.workload import POLISH_TOKENS, tokens_of
from prosafeprune.streaming.needs import edit_bytes, row_bytes, rows_within

LIBRARY_BYTES = 550_000_000
"""Bytes of Python with torch and transformers, their files' pages included: 0.53 to 0.57 GB on Linux
(benchmarks/memory.py, the process that copies)."""
POLISH_RANK, POLISH_PASS = 16, 2
"""Settings of ``--polish``: rank of its adapter, and pairs in a training pass."""
LORA_BYTES = 16
"""Bytes of a trained parameter: itself, its gradient and two moments in float32."""
TRAINED_LOGIT_BYTES = 28
"""Bytes of a logit in a training pass: in half precision and float32, each with its gradient, its log-softmax, and
that of the model before training."""
KEPT_OF_HIDDEN, KEPT_OF_INNER = 105, 20
"""Bytes that training keeps of each number of a token's hidden and MLP state, by layer: inputs of all matrices in
float32, norms and attention. Fitted to 2.1 GB for passes of 320 tokens of a 0.5 B model in bfloat16."""
COPIES_OF_LOGITS = {"cpu, half precision": 5.0, "cpu, float32": 1.5, "gpu": 1.0}
"""What the logits of a scoring pass take, with casts and what the allocator keeps, over their size. In half precision
fitted to 4.5 GB of a run of that model; in float32 a bound, since its scoring took less than 0.9 GB with 0.5 GB of
logits; not measured on a GPU."""
HALF_BYTES = 2
"""Bytes of a number in half precision."""


def memory_needed(
    prepared: PreparedRun,
    plan: Plan | None,
    model: ModelSize,
    bytes_per_weight: float = 1.0,
    *,
    on_gpu: bool = False,
    number_bytes: int = HALF_BYTES,
) -> float | None:
    """Return about how much memory a run takes on its device, in bytes; None where it is unknown.

    That is weights, pooled inputs, the logits of answers that are scored, and training with ``--polish``.

    Args:
        plan: given or found earlier; None: a search, which keeps the inputs of all layers.
        bytes_per_weight: of the model as it runs, over that on disk.
        number_bytes: of a number in the dtype that the model runs in.
    """
    if model.hidden is None or model.inner is None or model.layers is None:
        return None
    recipe = prepared.recipe
    layers = len(plan.layers) if plan is not None else model.layers
    prompts = sum(map(len, prepared.calibration.values()))
    return peak_memory(
        weights=bytes_per_weight * model.weight_bytes,
        stored=model.weight_bytes,
        inputs=model.inputs(layers, prompts),
        working=scoring_memory(recipe, model, on_gpu=on_gpu, number_bytes=number_bytes)
        + (_polish_memory(prepared, model) if recipe.polish else 0),
        on_gpu=on_gpu,
    )


def peak_memory(weights: float, stored: float, inputs: float, working: float, *, on_gpu: bool) -> float:
    """Return the memory at the worst moment of a run: while it loads, or while it works on pooled inputs and logits.

    Without a GPU the libraries count too, and while a checkpoint is loaded the pages of its files.
    """
    resident = weights + (0 if on_gpu else LIBRARY_BYTES)
    return max(resident + inputs + working, resident + (0 if on_gpu else stored))


def scoring_memory(recipe: Recipe, model: ModelSize, *, on_gpu: bool = False, number_bytes: int = HALF_BYTES) -> float:
    """Return the bytes that scoring a batch of answers takes."""
    kind = "gpu" if on_gpu else "cpu, half precision" if number_bytes == HALF_BYTES else "cpu, float32"
    row = number_bytes * (recipe.max_new_tokens + 1) * model.vocabulary
    rows = _rows(recipe, on_gpu=on_gpu)
    logits = row * rows if recipe.batch_size != "auto" else max(row, min(row * rows, LOGITS_AT_ONCE))
    return COPIES_OF_LOGITS[kind] * logits


@dataclass(frozen=True)
class StreamedMemory:
    """What prompts take in a run with one layer in memory, in bytes; :mod:`prosafeprune.streaming.needs` has the exact
    sizes."""

    batch: float = 0.0
    """Of one batch in a layer."""
    states: float = 0.0
    """Of the hidden states of all prompts between two layers."""


def streamed_memory(prepared: PreparedRun, shape: ModelShape, *, on_gpu: bool, number_bytes: int) -> StreamedMemory:
    """Return what the calibration prompts take with ``--memory low``; many hidden states go to a temporary file."""
    size, setting = shape.size, prepared.recipe.batch_size
    lengths = [tokens_of(text) for prompts in prepared.calibration.values() for text in prompts.texts]
    row = row_bytes(max(lengths), max(size.hidden or 0, size.inner or 0, 1))
    rows = _rows(prepared.recipe, on_gpu=on_gpu)
    rows = min(rows, rows_within(edit_bytes(shape.largest_matrix), row)) if setting == "auto" else rows
    states = sum(lengths) * (size.hidden or 0) * number_bytes
    return StreamedMemory(min(rows, len(lengths)) * row, states if states <= KEPT_IN_MEMORY else 0.0)


def _rows(recipe: Recipe, *, on_gpu: bool) -> int:
    return FIRST_BATCH["cuda" if on_gpu else "cpu"] if recipe.batch_size == "auto" else recipe.batch_size


def _polish_memory(prepared: PreparedRun, model: ModelSize) -> float:
    """Return the bytes of training: logits, adapter, and what a pass of the longest pairs keeps for its way back."""
    assert model.hidden is not None and model.inner is not None and model.layers is not None
    longest = max(tokens_of(text) for prompts in prepared.calibration.values() for text in prompts.texts)
    tokens = POLISH_PASS * (longest + POLISH_TOKENS)
    logits = TRAINED_LOGIT_BYTES * POLISH_PASS * (POLISH_TOKENS + 1) * model.vocabulary
    adapter = LORA_BYTES * POLISH_RANK * model.layers * (11 * model.hidden + 3 * model.inner)  # 4 and 3 matrices
    kept = tokens * model.layers * (KEPT_OF_HIDDEN * model.hidden + KEPT_OF_INNER * model.inner)
    return logits + adapter + kept
