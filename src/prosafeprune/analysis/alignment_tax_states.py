"""The three states of the alignment tax (5.2): base model, pruned, and pruned and tuned to refuse; and that tuning."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.analysis.answer_store import BASE_MODEL, Condition
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harm_probe import PROBE_CLASSES, HarmProbe, fit_harm_probe
from prosafeprune.analysis.plan_lookup import require_plan
from prosafeprune.analysis.sweeps import Variant, variant_condition
from prosafeprune.editing.edits import Edit, LowRankEdit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges import AnswerClass
from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import Advance
from prosafeprune.prompts import PromptClass
from prosafeprune.training.answer_loss import Example, answer_loss, make_examples
from prosafeprune.training.loop import Tuning, train
from prosafeprune.training.lora import lora, trainable_matrices

STATES = ("base model", "pruned", "pruned, tuned to refuse")
FIRST_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|\n|$)")


def alignment_tax_states(context: Context) -> tuple[list[Condition], Callable[[], Tuned]]:
    """Return the condition of each of ``STATES``, and a function that returns the tuning, which runs once."""
    request = context.request
    pruned = variant_condition(Variant(plan=require_plan(request)), context)
    tuning = Tuning(epochs=request.tuning_epochs, seed=request.seed)
    prompts = context.prompts.calibration[PromptClass.PSEUDO_HARMFUL].sample(request.tuning_prompts, request.seed)
    # The judge decides which answers are refusals to tune on.
    judged_by = {"judge": request.judge} | ({"judge_model": request.judge_model} if request.judge_model else {})
    identity = {**pruned.identity, "tuning": tuning.model_dump(), "tuned_on": prompts.sha256, **judged_by}

    @cache
    def tuned() -> Tuned:
        examples = make_examples(context.loaded, prompts.texts, own_refusals(context))
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


def own_refusals(context: Context) -> list[str]:
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


@dataclass(frozen=True)
class Tuned:
    """The learned edits and the training losses."""

    edits: list[LowRankEdit]
    losses: list[float]
    """Mean loss of each epoch, in nats per token of the refusals, before the step of each batch."""


def tune(loaded: LoadedModel, anatomy: Anatomy, examples: Sequence[Example], tuning: Tuning, advance: Advance) -> Tuned:
    """Fine-tune low-rank additions to every submodule's matrix on the examples' answers.

    The model is left unchanged, bit for bit and in its structure.

    Args:
        examples: at least one.

    Raises:
        InputError: the weights are quantised.
    """
    with lora(loaded.model, trainable_matrices(anatomy), tuning.rank, tuning.seed) as training:
        steps = train(training.parameters, examples, partial(answer_loss, loaded), tuning, advance)
        in_epoch = len(steps) // tuning.epochs
        epochs = [steps[start : start + in_epoch] for start in range(0, len(steps), in_epoch)]
        losses = [sum(step.loss * step.examples for step in epoch) / len(examples) for epoch in epochs]
        return Tuned(training.learned(), losses)


class HarmfulnessScale:
    """Probes of the base model's submodules: one scale for every later edit of the model."""

    def __init__(self, context: Context, first_layer: int) -> None:
        """Fit a probe for each submodule from ``first_layer`` up, to benign and harmful calibration prompts (A.1)."""
        self.context = context
        submodules = [submodule for submodule in context.anatomy.submodules if submodule.layer >= first_layer]
        pooled = context.pooled("calibration")
        self.probes: list[tuple[Submodule, HarmProbe]] = []
        with context.reporter.stage("Probes", len(submodules)) as advance:
            for submodule in submodules:
                classes = (pooled.activations(submodule, name) for name in PROBE_CLASSES)
                self.probes.append((submodule, fit_harm_probe(*classes)))
                advance(1)

    def score(self, edits: Sequence[Edit], prompts: Sequence[str]) -> np.ndarray:
        """Return each prompt's mean probability of harm over the submodules of the edited model, ``(prompts,)``.

        Raises:
            InputError: out of memory, or the edited model's activations are not finite.
        """
        context = self.context
        encoded = encode_prompts(context.loaded.tokenizer, prompts)
        layers = sorted({submodule.layer for submodule, _ in self.probes})
        size = BatchSize(context.request.batch_size, context.loaded.device)
        with apply_edits(edits), torch.inference_mode(), context.reporter.stage("Harmfulness", len(encoded)) as advance:
            pooling = context.request.pooling
            inputs = collect_pooled_inputs(
                context.loaded.model, context.anatomy, encoded, [pooling], layers, size, advance
            )[pooling]
            total = np.zeros(len(encoded))
            for submodule, probe in self.probes:
                outputs = inputs.outputs(submodule, submodule.weight())
                total += probe.probability(outputs.T.cpu().double().numpy())
        return total / len(self.probes)
