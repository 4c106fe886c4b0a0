"""The face of every method that is compared: learn from the calibration prompts, then answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict

from prosafeprune.generation import Generator
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import Reporter
from prosafeprune.prompts import PromptClass, PromptSet

BatchSetting = int | Literal["auto"]


@dataclass(frozen=True)
class Material:
    """What a method may learn from. No test prompt is among it."""

    loaded: LoadedModel
    calibration: Mapping[PromptClass, PromptSet]
    validation: Mapping[PromptClass, PromptSet]
    """For methods that choose between candidates; shared with no other set."""
    batch_size: BatchSetting
    seed: int
    reporter: Reporter

    @property
    def anatomy(self) -> Anatomy:
        """The decoder layers of the model and their matrices."""
        return find_anatomy(self.loaded.model)


@dataclass(frozen=True)
class FittedParts:
    """What a method has learned of one model: small, and kept in a file."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What is worth telling of it, as plain JSON values: layers, counts, scores."""


class Method(BaseModel):
    """A way of answering. Its fields are its settings; two methods with equal settings answer alike.

    A method of your own is a subclass with a ``name`` and a ``generator``, and ``fit`` if it learns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether there is something to learn from the calibration prompts."""

    def fit(self, material: Material) -> FittedParts:
        """Learn from the prompts, and leave the model as it was.

        Raises:
            InputError: the model cannot be run, or the settings do not fit it.
            NotApplicableError: the method finds nothing to work with in this model.
        """
        return FittedParts()

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, learned: FittedParts) -> Generator:
        """Return what answers in this way; the model is as it was whenever it is not answering."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the name and the settings, as plain JSON values."""
        return {"method": self.name, **self.model_dump(mode="json")}
