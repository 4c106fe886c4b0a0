"""Self-training: supervised fine-tuning on the model's own answers, held in place on benign prompts.

The pairs are those of ``sft``. On benign prompts the loss is the divergence from the model as it was, not the cross
entropy of its answers: otherwise it becomes certain of its own greedy answers, far from what it was. This is ours: none
of the published methods.
"""

from dataclasses import replace
from typing import ClassVar

from prosafeprune.baselines.answer_training import AnswerTraining
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.own_answers import OwnAnswers, Pair
from prosafeprune.prompts import PromptClass


class SelfTraining(AnswerTraining):
    """LoRA on a model's own answers, of which the benign ones anchor it."""

    name: ClassVar[str] = "self-training"
    title: ClassVar[str] = "Self-training"

    def pairs(self, context: FitContext) -> dict[PromptClass, list[Pair]]:
        """Return the model's own answers that are what they should be. Raises as :meth:`OwnAnswers.pairs` does."""
        own = OwnAnswers(context, self.prompts, self.answer_tokens, self.title)
        pairs = {prompt_class: own.pairs(prompt_class) for prompt_class in PromptClass}
        anchors = [replace(pair, anchored=True) for pair in pairs[PromptClass.BENIGN]]
        return {**pairs, PromptClass.BENIGN: anchors}
