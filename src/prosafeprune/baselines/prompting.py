"""The unchanged model, and the model with instructions before each prompt that reduce false refusals."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.baselines.prompt_strategies import STRATEGIES, PromptStrategy
from prosafeprune.baselines.validation import PROMPTS, Validation
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
    """A system prompt or earlier turns that work against false refusals (Ray and Bhalani 2024)."""

    name: ClassVar[str] = "prompt"
    strategy: Literal["best", "helpful", "few-shot", "interactive", "contextual"] = Field(
        "best", description="Which words; best: those with the highest T.S. on validation prompts."
    )
    system: str | None = Field(None, min_length=1, description="Your own system prompt, instead of a strategy.")
    validation: int = Field(PROMPTS, ge=1, description="Validation prompts of each class that one is selected by.")

    @property
    def needs_fit(self) -> bool:
        """Whether a strategy has to be selected."""
        return self.strategy == "best" and self.system is None

    def fit(self, context: FitContext) -> FittedParts:
        """Select the strategy."""
        candidates = {
            name: partial(_generator, context.loaded, context.batch_size, strategy)
            for name, strategy in STRATEGIES.items()
        }
        best, rates = Validation(context, self.validation).best(candidates, "Prompting: strategies")
        return FittedParts(
            facts={"strategy": best, "validation": {name: one.describe() for name, one in rates.items()}}
        )

    def generator(self, loaded: LoadedModel, batch_size: BatchSetting, fitted: FittedParts) -> Generator:
        """Return a generator that puts the words before each prompt."""
        return _generator(loaded, batch_size, self._words(fitted))

    def _words(self, fitted: FittedParts) -> PromptStrategy:
        if self.system is not None:
            return PromptStrategy(system=self.system)
        return STRATEGIES[fitted.facts["strategy"] if self.strategy == "best" else self.strategy]


def _generator(loaded: LoadedModel, batch_size: BatchSetting, words: PromptStrategy) -> Generator:
    make_batches = partial(ChatPromptBatches, system=words.system, history=words.history)
    return LocalGenerator(loaded, batch_size, make_batches)
