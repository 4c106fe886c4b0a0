"""Self-training: a LoRA adapter that corrects a model where it errs and holds it in place where it does not.

The model answers its calibration prompts. Harmless ones that it refuses are paired with its own answer under a system
prompt that asks for helpfulness, harmful ones that it does not refuse with one of its own refusals of others. Those
are trained on, in equal parts. On all other answers the loss is the divergence from the model as it was, so that
nothing but refusing moves. This is ours: none of the published methods.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import ClassVar

from prosafeprune.baselines.answer_training import AnswerTraining
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.own_answers import OwnAnswers, Pair
from prosafeprune.baselines.published_prompts import HELPFULNESS
from prosafeprune.errors import NotApplicableError
from prosafeprune.prompts import PromptClass


class SelfTraining(AnswerTraining):
    """LoRA on a model's own answers: corrected where they were wrong, anchored where they were right."""

    name: ClassVar[str] = "self-training"
    title: ClassVar[str] = "Self-training"

    def pairs(self, context: FitContext) -> dict[PromptClass, list[Pair]]:
        """Return the pairs of each class; corrections of the class with fewer are repeated.

        Raises:
            NotApplicableError: too few answers are right to learn from, or none is wrong.
            InputError: as generation does.
        """
        own = OwnAnswers(context, self.prompts, self.answer_tokens, self.title)
        right = {one: own.wanted(own.texts(one), one, None) for one in PromptClass}
        for one in (PromptClass.BENIGN, PromptClass.HARMFUL):
            own.require_enough(one, right[one], len(own.texts(one)))
        wrong = {one: _without(own.texts(one), right[one]) for one in PromptClass}
        corrected = {
            PromptClass.PSEUDO_HARMFUL: own.wanted(
                wrong[PromptClass.PSEUDO_HARMFUL], PromptClass.PSEUDO_HARMFUL, HELPFULNESS
            ),
            PromptClass.HARMFUL: _refused(wrong[PromptClass.HARMFUL], right[PromptClass.HARMFUL], context.seed),
        }
        most = max(map(len, corrected.values()))
        if not most:
            raise NotApplicableError(
                f"{self.title}: the model answers every calibration prompt as it should; there is nothing to correct."
            )
        return {
            one: [*(replace(pair, anchored=True) for pair in pairs), *islice(cycle(corrected.get(one, ())), most)]
            for one, pairs in right.items()
        }


def _without(texts: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Return the prompts that are in no pair."""
    paired = {one.prompt for one in pairs}
    return [text for text in texts if text not in paired]


def _refused(texts: Sequence[str], refusals: Sequence[Pair], seed: int) -> list[Pair]:
    """Return each prompt with a refusal of another one, from the shorter half: long ones name what they refuse."""
    draws = random.Random(seed)
    general = sorted(refusals, key=lambda one: len(one.answer))[: (len(refusals) + 1) // 2]
    return [replace(draws.choice(general), prompt=text) for text in texts]
