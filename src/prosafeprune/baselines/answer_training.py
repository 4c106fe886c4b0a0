"""What the methods share that train a LoRA adapter on prompts with answers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from prosafeprune.baselines.low_rank import LowRankMethod, factor_tensors
from prosafeprune.baselines.method import FitContext, FittedParts
from prosafeprune.baselines.own_answers import Pair
from prosafeprune.model.loading import LoadedModel
from prosafeprune.prompts import PromptClass
from prosafeprune.training.answer_loss import Example, answer_loss, in_passes, make_examples
from prosafeprune.training.loop import train
from prosafeprune.training.lora import lora, trainable_matrices


class AnswerTraining(LowRankMethod):
    """A method whose adapter is trained on pairs of a prompt and an answer, by the loss of the answers' tokens."""

    title: ClassVar[str]
    prompts: int = Field(96, ge=1, description="Prompts of each class that are answered for training.")
    answer_tokens: int = Field(96, ge=1, description="Maximum tokens of a training answer.")
    rank: int = Field(16, ge=1, description="Rank of the adapter.")
    learning_rate: float = Field(2e-4, gt=0, description="AdamW's, constant.")
    epochs: int = Field(2, ge=1, description="Passes over the pairs.")
    examples_at_once: int = Field(8, ge=1, description="Pairs per update.")

    @abstractmethod
    def pairs(self, context: FitContext) -> Mapping[PromptClass, Sequence[Pair]]:
        """Return the pairs of each class. Raises NotApplicableError when they are too few."""

    def fit(self, context: FitContext) -> FittedParts:
        """Generate the answers, and train the adapter on them."""
        loaded = context.loaded
        pairs = self.pairs(context)
        examples = [example for of_class in pairs.values() for example in self._examples(loaded, of_class)]
        with (
            lora(loaded.model, trainable_matrices(context.anatomy), self.rank, context.seed) as training,
            context.reporter.stage(f"{self.title}: training", self.epochs * len(examples)) as advance,
        ):
            steps = train(
                training.parameters,
                examples,
                partial(answer_loss, loaded, without_adapter=training.switched_off),
                self.tuning(context.seed),
                advance,
                split=in_passes,
                saved_in=context.progress_file(f"{self.name}.safetensors"),
                after_save=context.clock.save,
            )
            tensors = factor_tensors(training.learned())
        facts = {
            "pairs": {name.value: len(of_class) for name, of_class in pairs.items()},
            "losses": [round(step.loss, 4) for step in steps],
        }
        return FittedParts(tensors, facts)

    def _examples(self, loaded: LoadedModel, pairs: Sequence[Pair]) -> list[Example]:
        """Tokenise pairs; an answer that is cut at the limit has no end."""
        examples = make_examples(
            loaded, [pair.prompt for pair in pairs], [pair.answer for pair in pairs], [pair.finished for pair in pairs]
        )
        return [
            Example(example.prompt, example.answer[: self.answer_tokens], pair.anchored)
            for example, pair in zip(examples, pairs, strict=True)
        ]
