"""The unchanged model, and the model with a system prompt."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field

from prosafeprune.baselines.method import BatchSetting, FittedParts, Method
from prosafeprune.baselines.published_prompts import HELPFULNESS
from prosafeprune.generation import Generator, LocalGenerator
from prosafeprune.generation.prompt_batches import ChatPromptBatches
from prosafeprune.model.loading import LoadedModel


class Default(Method):
    """The unchanged model."""

    name: ClassVar[str] = "default"

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator over the model."""
        return LocalGenerator(loaded, batch_size)


class Prompting(Method):
    """A system prompt that asks for helpfulness (Ray and Bhalani 2024)."""

    name: ClassVar[str] = "prompt"
    system: str = Field(HELPFULNESS, min_length=1, description="The system prompt.")

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that puts the system prompt before each prompt."""
        return LocalGenerator(loaded, batch_size, partial(ChatPromptBatches, system=self.system))
