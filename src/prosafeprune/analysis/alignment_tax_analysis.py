"""The alignment tax: internal harmfulness against general ability, pruned and tuned to refuse (5.2, figure 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prosafeprune.ability import Question, find_task, read_task
from prosafeprune.analysis.alignment_tax_result import HARMFULNESS, alignment_tax_result
from prosafeprune.analysis.alignment_tax_states import STATES, alignment_tax_states
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harmfulness_scale import HarmfulnessScale
from prosafeprune.analysis.plan_lookup import require_plan
from prosafeprune.analysis.result import AnalysisResult, Observation
from prosafeprune.analysis.run_sweep import NO_EDIT, stack_outcomes, sweep_sets, sweep_split
from prosafeprune.analysis.sweep_analyses import PLAN_SETTINGS
from prosafeprune.analysis.workload import Workload
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.load import require_layers

PASSES_PER_STEP = 3
"""Forward passes that cost as much as training on one prompt."""


class AlignmentTaxAnalysis(Analysis):
    """Three states of one model: the base model, pruned, and pruned and tuned to refuse pseudo-harmful prompts."""

    settings = (*PLAN_SETTINGS, "ability", "ability_samples", "ability_tokens", "tuning_prompts", "tuning_epochs")
    compares = False

    def splits(self, request: AnalyzeRequest) -> tuple[str, ...]:
        """Return the splits that the plan is computed from and measured on."""
        return ("calibration", sweep_split(request))

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there is no plan, no prompts to measure it on, or no question of ability."""
        require_plan(request, prompts.calibration)
        sweep_sets(request, prompts)
        if not request.ability:
            raise InputError("--ability: the alignment tax needs at least one task. Name one.")
        _questions(request)

    def workload(self, context: Context) -> Workload:
        """Answers of three states to prompts and questions, and a short training."""
        _require_checkpoint(context)
        request, (states, _) = context.request, alignment_tax_states(context)
        questions = len(states) * len(_questions(request)) * request.ability_tokens // request.max_new_tokens
        training = PASSES_PER_STEP * request.tuning_epochs * request.tuning_prompts
        return (
            context.pooled_workload("calibration")
            + context.answers_workload(states, sweep_sets(request, context.prompts))
            + Workload(
                own_passes=training + len(states) * len(PromptClass) * request.sweep_samples,
                own_answers=questions + request.tuning_prompts,
            )
        )

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return outcomes, harmfulness and correct answers in each state, and the losses of the tuning."""
        _require_checkpoint(context)
        request, plan = context.request, require_plan(context.request)
        require_layers(plan, context.anatomy)
        sets, questions = sweep_sets(request, context.prompts), _questions(request)
        states, tuned = alignment_tax_states(context)
        scale = HarmfulnessScale(context, min(plan.layers))
        scored = _scored_prompts(context, sets)
        ends = np.cumsum([len(texts) for texts in scored.values()])
        measured, correct, scores = [], [], []
        for state in states:
            measured.append(context.answers.measure(state, sets))
            by_task = context.answers.ability(state, questions, request.ability_tokens)
            correct.append([by_task[task].accuracy.successes for task in request.ability])
            scores.append(scale.score(state.make_edits(), [text for texts in scored.values() for text in texts]))
        harmfulness = np.split(np.array(scores), ends[:-1], axis=1)
        return {
            "labels": np.array(STATES),
            "done": np.array([NO_EDIT, *(state.title for state in states[1:])]),
            "tasks": np.array(request.ability),
            "questions": np.array([sum(one.task == task for one in questions) for task in request.ability]),
            "right": np.array(correct),
            **{f"{HARMFULNESS}{name.in_words}": one for name, one in zip(scored, harmfulness, strict=True)},
            "losses": np.array(tuned().losses),
            **stack_outcomes(measured),
        }

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return harmfulness, accuracy and rates by state, with intervals."""
        return alignment_tax_result(before)


def _scored_prompts(context: Context, sets: Sequence[EvaluationSet]) -> dict[PromptClass, list[str]]:
    """Return the prompts whose harmfulness is scored: those of the sets, and as many benign ones."""
    scored = [one for one in sets if not one.is_policy]
    prompts = {
        name: [text for one in scored if one.prompt_class is name for text in one.prompts.texts] for name in PromptClass
    }
    benign = context.prompts.of(sweep_split(context.request))[PromptClass.BENIGN]
    prompts[PromptClass.BENIGN] = benign.sample(context.request.sweep_samples, context.request.seed).texts
    return prompts


def _questions(request: AnalyzeRequest) -> list[Question]:
    return [
        question
        for task in request.ability
        for question in read_task(find_task(task), request.data_dir, request.ability_samples, request.seed)
    ]


def _require_checkpoint(context: Context) -> None:
    if context.local.subject.adapter is not None:
        raise InputError(f"{context.request.model}: is an adapter, which cannot be tuned. Pass a full checkpoint.")
