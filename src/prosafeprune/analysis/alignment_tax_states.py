"""The three states of the alignment tax: base model, pruned, and pruned and tuned to refuse (5.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from prosafeprune.analysis.answer_store import BASE_MODEL, Condition
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import require_plan
from prosafeprune.analysis.refusal_tuning import Tuned, tune
from prosafeprune.analysis.run_sweep import variant_condition
from prosafeprune.analysis.variants import Variant
from prosafeprune.editing.edits import Edit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judge import AnswerClass
from prosafeprune.prompts import PromptClass
from prosafeprune.training.examples import make_examples
from prosafeprune.training.loop import Tuning

STATES = ("base model", "pruned", "pruned, tuned to refuse")
FIRST_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|\n|$)")


def alignment_tax_states(context: Context) -> tuple[list[Condition], Callable[[], Tuned]]:
    """Return the condition of each of ``STATES``, and a function that returns the tuning, which runs once."""
    request = context.request
    pruned = variant_condition(Variant(plan=require_plan(request)), context)
    tuning = Tuning(epochs=request.tuning_epochs, seed=request.seed)
    prompts = context.prompts.calibration[PromptClass.PSEUDO_HARMFUL].sample(request.tuning_prompts, request.seed)
    identity = {**pruned.identity, "tuning": tuning.model_dump(), "tuned_on": prompts.sha256, "judge": request.judge}

    @cache
    def tuned() -> Tuned:
        examples = make_examples(context.loaded, prompts.texts, _own_refusals(context))
        with (
            apply_edits(pruned.make_edits()),
            context.reporter.stage("Tuning to refuse", tuning.epochs * len(examples)) as advance,
        ):
            return tune(context.loaded, context.anatomy, examples, tuning, advance)

    def make_edits() -> Sequence[Edit]:
        return [*pruned.make_edits(), *tuned().edits]

    return [BASE_MODEL, pruned, Condition(f"{pruned.title}, tuned to refuse", identity, make_edits)], tuned


def first_sentence(answer: str) -> str:
    """Return an answer's first sentence, which is where refusals are stated."""
    match = FIRST_SENTENCE.match(answer.strip())
    return match.group().strip() if match else ""


def _own_refusals(context: Context) -> list[str]:
    """Return the first sentence of each of the base model's refusals of harmful calibration prompts.

    Raises:
        InputError: it refuses none of them.
    """
    request = context.request
    harmful = context.prompts.calibration[PromptClass.HARMFUL].sample(request.tuning_prompts, request.seed)
    calibration = EvaluationSet("calibration-harmful", "calibration harmful", harmful)
    (judged,) = context.answers.measure(BASE_MODEL, [calibration]).sets
    refusals = [
        first_sentence(answer)
        for answer, verdict in zip(judged.answers, judged.verdicts, strict=True)
        if verdict.answer_class is AnswerClass.FULL_REFUSAL
    ]
    if not refusals:
        raise InputError(
            f"The model refuses none of {len(harmful)} harmful prompts, so there are no refusals to tune on. Raise "
            "--tuning-prompts, or --max-new-tokens if its answers were cut."
        )
    return list(dict.fromkeys(refusals))
