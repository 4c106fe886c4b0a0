"""The interface of every method that is compared: fit on the calibration prompts, then answer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.baselines.fit_clock import FitClock
from prosafeprune.generation import EditedGenerator, Generator, LocalGenerator
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.hidden_states import hidden_states
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet

BatchSetting = int | Literal["auto"]


@dataclass(frozen=True)
class FitContext:
    """What a method is fitted on: the model and its prompts, no test prompt among them."""

    loaded: LoadedModel
    calibration: Mapping[PromptClass, PromptSet]
    validation: Mapping[PromptClass, PromptSet]
    """For methods that select between candidates; disjoint from every other set."""
    batch_size: BatchSetting
    seed: int
    reporter: Reporter
    folder: Path | None = None
    """Where a long fit may save its progress in files named ``fitting-*``, which are removed once it is done; None on
    the workers of a cluster."""
    clock: FitClock = field(default_factory=FitClock)
    """The time of the fit, which is saved along with its progress."""

    def progress_file(self, name: str) -> Path | None:
        """Return the path of a file for the progress of a fit; None where there is no folder."""
        return None if self.folder is None else self.folder / f"fitting-{name}"

    @property
    def anatomy(self) -> Anatomy:
        """The decoder layers of the model and their matrices."""
        return find_anatomy(self.loaded.model)

    @property
    def forward_size(self) -> BatchSize:
        """How many prompts run in a forward pass."""
        return BatchSize(self.batch_size, self.loaded.device)

    def states(self, prompts: Sequence[tuple[int, ...]], indices: Sequence[int], title: str) -> torch.Tensor:
        """Return the states that enter each layer at some tokens, ``(prompts, layers + 1, indices, d)``."""
        with self.reporter.stage(title, len(prompts)) as advance:
            return hidden_states(self.loaded, prompts, [indices] * len(prompts), self.forward_size, advance)


@dataclass(frozen=True)
class FittedParts:
    """The result of fitting a method to one model: small, and kept in a file."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record shows of the fit, as plain JSON values: layers, counts, scores."""
    seconds: float | None = None
    """How long fitting took, over all sessions; None when unknown."""
    learned_from: frozenset[str] = frozenset()
    """Hashes of the prompts that it was made from; empty before it is kept, and in files of earlier releases."""


class Method(BaseModel):
    """A way of answering. Its fields are its settings; two methods with equal settings give the same answers.

    Your own method is a subclass with a ``name`` and a ``generator``, and ``fit`` if it needs fitting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)  # JSON has no infinity

    name: ClassVar[str]
    in_memory_only: ClassVar[bool] = False
    """Whether what was fitted is not written to disk, since it removes refusals; it is fitted again where needed."""
    base_model_answers: ClassVar[bool] = False
    """Whether the base model itself writes the answers, by its usual decoding, so that none is word salad to it."""

    @property
    def needs_fit(self) -> bool:
        """Whether the method is fitted on the calibration prompts: it is when its class overrides ``fit``."""
        return type(self).fit is not Method.fit

    def fit(self, context: FitContext) -> FittedParts:
        """Fit the method and leave the model unchanged.

        Raises:
            InputError: the model cannot be run, or the settings do not fit it.
            NotApplicableError: the method finds nothing to work with in this model.
        """
        return FittedParts()

    def further_prompts(self) -> Sequence[PromptSet]:
        """Return the prompts that the method learns from besides the calibration prompts, such as a file of the user's.

        Raises:
            InputError: the file cannot be read.
        """
        return ()

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that answers by this method; the model is unchanged whenever it is not answering."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the name and the settings, as plain JSON values."""
        return {"method": self.name, **self.model_dump(mode="json")}


class ModelChange(Method):
    """A method that changes the model alone: prompts and decoding stay as they are.

    So the changed model's next-token distributions can be compared with the base model's.
    """

    def changes(self, loaded: LoadedModel, fitted: FittedParts) -> Callable[[], AbstractContextManager[None]]:
        """Return a function whose context has the model changed; the model is restored when it ends."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it changes")

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator whose model is changed while it answers."""
        return EditedGenerator(LocalGenerator(loaded, batch_size), self.changes(loaded, fitted))
