"""The training loop: AdamW over shuffled examples, saved periodically, so that an interrupted run resumes."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prosafeprune.errors import InputError
from prosafeprune.files.staging import write_whole
from prosafeprune.model.batches import is_out_of_memory
from prosafeprune.progress import Advance, EarlierSteps

Item = TypeVar("Item")
SAVE_SECONDS = 120.0
"""Time between saves within an epoch."""
ENTRY = "prosafeprune"
MOMENTS = ("exp_avg", "exp_avg_sq")
LOSS_SCALE = 1024.0
"""Initial loss scale, as in mixed-precision training: small gradients would round to zero in float16. A power of two
changes nothing else; it is halved whenever a gradient overflows."""
SCALED_ON = ("cpu", "cuda")
"""Types of devices that torch scales losses on; on others, such as Apple's, the loss is used as it is."""
SKIPPED = 0.1
"""Maximum share of steps skipped for non-finite gradients; at least two are allowed."""


class Tuning(BaseModel):
    """Hyperparameters, sized for a CPU."""

    model_config = ConfigDict(frozen=True)

    epochs: int = Field(default=3, ge=1)
    rank: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    batch_size: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)


def in_one_pass(batch: Sequence[Item]) -> list[tuple[Sequence[Item], float]]:
    """Return the batch as a single pass with all of the loss."""
    return [(batch, 1.0)]


class TrainingStep(NamedTuple):
    """One update."""

    loss: float
    """The mean loss over the batch, before the update."""
    examples: int


def train(
    parameters: Sequence[torch.Tensor],
    examples: Sequence[Item],
    loss_of: Callable[[Sequence[Item]], torch.Tensor],
    tuning: Tuning,
    advance: Advance,
    *,
    before_epoch: Callable[[], None] | None = None,
    split: Callable[[Sequence[Item]], Sequence[tuple[Sequence[Item], float]]] = in_one_pass,
    saved_in: Path | None = None,
    after_save: Callable[[], None] | None = None,
) -> list[TrainingStep]:
    """Train parameters in place with AdamW, without weight decay, and return the steps.

    Args:
        examples: at least one; reshuffled for each epoch by the seed.
        loss_of: the loss of a batch of examples.
        advance: called after each batch with the number of its examples; when resuming, first with those done.
        before_epoch: called before each epoch, for losses that depend on the parameters at that time.
        split: splits a batch into micro-batches, each with its loss weight (gradient accumulation).
        saved_in: file that the training is saved in, and resumed from if it belongs to the same training; None to
            save nothing.
        after_save: called after each save, for what is kept along with it.

    A step whose gradients are not finite is skipped.

    Raises:
        InputError: the file cannot be written, too many steps were skipped, or out of memory.
    """
    optimizer = torch.optim.AdamW(parameters, lr=tuning.learning_rate, weight_decay=0.0)
    batches = _batches(examples, tuning)
    in_epoch = len(batches) // tuning.epochs
    shapes = [list(parameter.shape) for parameter in parameters]
    key = {**tuning.model_dump(), "examples": len(examples), "shapes": shapes}
    scaler = LossScaler(parameters, len(batches))
    steps = _resume(saved_in, key, parameters, optimizer, scaler) if saved_in is not None else []
    if steps:
        advance(EarlierSteps(sum(step.examples for step in steps)))
    saved = time.monotonic()
    for number in range(len(steps), len(batches)):
        begins, ends = number % in_epoch == 0, (number + 1) % in_epoch == 0
        if before_epoch is not None and begins:
            before_epoch()
        optimizer.zero_grad()
        total = 0.0
        with torch.enable_grad(), memory_named():
            for part, share in split(batches[number]):
                loss = share * loss_of(part)
                scaler.scale(loss).backward()
                total += float(loss.detach())
        scaler.step(optimizer)
        steps.append(TrainingStep(total, len(batches[number])))
        due = time.monotonic() - saved >= SAVE_SECONDS and before_epoch is None
        if saved_in is not None and (ends or due):
            _save(saved_in, key, parameters, optimizer, steps, scaler.skipped)
            if after_save is not None:
                after_save()
            saved = time.monotonic()
        advance(len(batches[number]))
    return steps


@contextmanager
def memory_named() -> Iterator[None]:
    """Raise InputError when memory runs out inside the context: gradients take more than answers did."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "Training: out of memory. Use another --device or a smaller model, or leave the training out."
        ) from error


class LossScaler:
    """Steps of an optimiser by gradients of a scaled loss; those that are not finite are skipped."""

    def __init__(self, parameters: Sequence[torch.Tensor], steps: int) -> None:
        """Prepare ``steps`` steps of these parameters, float32."""
        device = parameters[0].device.type
        self._scaler = torch.amp.GradScaler(
            device, init_scale=LOSS_SCALE, growth_interval=2**31 - 1, enabled=device in SCALED_ON
        )
        self._parameters = parameters
        self._allowed, self.skipped = max(2, int(SKIPPED * steps)), 0

    def resume(self, skipped: int) -> None:
        """Continue after a training that skipped this many steps."""
        self.skipped = skipped
        if not self._scaler.is_enabled():
            return
        self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": LOSS_SCALE / 2**skipped})

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate."""
        return self._scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the parameters. Raises InputError when too many steps were skipped."""
        if self._scaler.is_enabled():
            before = self._scaler.get_scale()
            self._scaler.step(optimizer)
            self._scaler.update()
            self.skipped += self._scaler.get_scale() < before
        elif all(bool(one.grad.isfinite().all()) for one in self._parameters if one.grad is not None):
            optimizer.step()
        else:
            self.skipped += 1
        if self.skipped > self._allowed:
            raise InputError(
                f"Training: the gradients of {self.skipped} steps are not numbers. Try --dtype float32 or bfloat16."
            )


def _batches(examples: Sequence[Item], tuning: Tuning) -> list[list[Item]]:
    """Return the batches of all epochs, in order."""
    draws = random.Random(tuning.seed)
    orders = [draws.sample(list(examples), len(examples)) for _ in range(tuning.epochs)]
    size = tuning.batch_size
    return [order[start : start + size] for order in orders for start in range(0, len(order), size)]


def _save(
    file: Path,
    key: Any,
    parameters: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    steps: list[TrainingStep],
    skipped: int,
) -> None:
    tensors = {f"{i}.value": parameter.detach().contiguous() for i, parameter in enumerate(parameters)}
    for i, parameter in enumerate(parameters):
        if parameter in optimizer.state:  # else the loss does not depend on it
            tensors |= {f"{i}.{name}": optimizer.state[parameter][name].contiguous() for name in MOMENTS}
    header = json.dumps({"training": key, "steps": steps, "skipped": skipped})
    write_whole(file, save(tensors, {ENTRY: header}))


def _resume(
    file: Path,
    key: Any,
    parameters: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: LossScaler,
) -> list[TrainingStep]:
    """Restore a training from a file, and return the steps done; none if the file is not of this training."""
    if not file.is_file():
        return []
    try:
        with safe_open(file, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})[ENTRY])
            if header["training"] != key:
                return []
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dictionary
        steps = [TrainingStep(float(loss), int(examples)) for loss, examples in header["steps"]]
        skipped = min(int(header.get("skipped", 0)), len(steps))
        values = [tensors[f"{i}.value"] for i in range(len(parameters))]
        moments = [[tensors.get(f"{i}.{name}") for name in MOMENTS] for i in range(len(parameters))]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return []
    for i, parameter in enumerate(parameters):
        if any(tensor is not None and tensor.shape != parameter.shape for tensor in (values[i], *moments[i])):
            return []
    for parameter, value, kept in zip(parameters, values, moments, strict=True):
        parameter.data.copy_(value)
        state = {
            name: moment.to(parameter.device) for name, moment in zip(MOMENTS, kept, strict=True) if moment is not None
        }
        if len(state) == len(MOMENTS):
            optimizer.state[parameter] = {"step": torch.tensor(float(len(steps) - skipped)), **state}
    if skipped > 0:
        scaler.resume(skipped)
    return steps
