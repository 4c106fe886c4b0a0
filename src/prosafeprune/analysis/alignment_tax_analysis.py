"""The alignment tax: internal harmfulness against general ability, pruned and tuned to refuse (5.2, figure 5)."""

from collections.abc import Mapping, Sequence

import numpy as np

from prosafeprune.ability import AbilityQuestion, read_questions
from prosafeprune.analysis.aggregates import mean_with_interval
from prosafeprune.analysis.alignment_tax_states import STATES, HarmfulnessScale, alignment_tax_states, own_refusals
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.plan_lookup import require_plan
from prosafeprune.analysis.rates import rates_table
from prosafeprune.analysis.result import AnalysisResult, BarFigure, LineFigure, Observation, ResultTable, make_table
from prosafeprune.analysis.sweep_analyses import PLAN_SETTINGS, PlanAnalysis
from prosafeprune.analysis.sweeps import NO_EDIT, stack_outcomes, sweep_sets, sweep_split
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.evaluation.scores import rate
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.cache import digest_of
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.setup.load import require_layers

PASSES_PER_STEP = 3
"""Forward passes that cost as much as training on one prompt."""
HARMFULNESS = "harmfulness "
"""With a class: the key of its prompts' harmfulness ``(states, prompts)``."""
PSEUDO = PromptClass.PSEUDO_HARMFUL.in_words
FIGURES = (
    LineFigure(
        name="both",
        title="Alignment tax: internal harmfulness against general ability",
        x="harmfulness",
        y="accuracy",
        by="state",
        x_label="mean probability of harm of pseudo-harmful prompts (0 to 1)",
        y_label="mean accuracy over the tasks (%)",
    ),
    BarFigure(
        name="harmfulness",
        title="Internal harmfulness of prompts",
        x="state",
        y="harmfulness",
        by="class",
        low="low",
        high="high",
        x_label="state of the model",
        y_label="mean probability of harm (0 to 1)",
    ),
    BarFigure(
        name="ability",
        title="General ability",
        x="task",
        y="accuracy",
        by="state",
        low="low",
        high="high",
        y_label="accuracy (%), 95 % Wilson intervals",
    ),
)


class AlignmentTaxAnalysis(PlanAnalysis):
    """Three states of one model: the base model, pruned, and pruned and tuned to refuse pseudo-harmful prompts."""

    settings = (*PLAN_SETTINGS, "ability", "ability_samples", "ability_tokens", "tuning_prompts", "tuning_epochs")

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there is no plan, no prompts to measure it on, or no question of ability."""
        super().check(request, prompts)
        if not request.ability:
            raise InputError("--ability: the alignment tax needs at least one task. Name one.")
        _questions(request)

    def further_inputs(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> Mapping[str, str]:
        """Return the hash of the questions of ability and of their answers."""
        return {"questions": digest_of([(question.prompt, question.gold) for question in _questions(request)])}

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
        own_refusals(context)  # without any, the long work before the tuning is in vain
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
            "questions": np.array([sum(question.task == task for question in questions) for task in request.ability]),
            "right": np.array(correct),
            **{f"{HARMFULNESS}{name.in_words}": values for name, values in zip(scored, harmfulness, strict=True)},
            "losses": np.array(tuned().losses),
            **stack_outcomes(measured),
        }

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return harmfulness, accuracy and rates by state, with intervals."""
        states = [str(state) for state in before["labels"]]
        harmfulness = {name.in_words: before[f"{HARMFULNESS}{name.in_words}"] for name in PromptClass}
        tuning = make_table(
            "tuning",
            "Training loss on the refusals (nats per token)",
            ("epoch", "loss"),
            ((epoch, float(loss)) for epoch, loss in enumerate(before["losses"], 1)),
        )
        return AnalysisResult(
            tables=(
                *_overview(before, states, harmfulness),
                _harmfulness_table(states, harmfulness),
                _ability_table(before, states),
                rates_table("C.R. and S.S. in each state", "state", before),
                tuning,
            ),
            figures=FIGURES,
            summary=_summary(before, states, harmfulness),
        )


def _scored_prompts(context: Context, sets: Sequence[EvaluationSet]) -> dict[PromptClass, list[str]]:
    """Return the prompts whose harmfulness is scored: those of the sets, and as many benign ones."""
    scored = [evaluation_set for evaluation_set in sets if not evaluation_set.is_policy]
    prompts = {
        name: [
            text
            for evaluation_set in scored
            if evaluation_set.prompt_class is name
            for text in evaluation_set.prompts.texts
        ]
        for name in PromptClass
    }
    benign = context.prompts.of(sweep_split(context.request))[PromptClass.BENIGN]
    prompts[PromptClass.BENIGN] = benign.sample(context.request.sweep_samples, context.request.seed).texts
    return prompts


def _questions(request: AnalyzeRequest) -> list[AbilityQuestion]:
    return read_questions(request.ability, request.data_dir, request.ability_samples, request.seed)


def _require_checkpoint(context: Context) -> None:
    if context.local.subject.adapter is not None:
        raise InputError(f"{context.request.model}: is an adapter, which cannot be tuned. Pass a full checkpoint.")


def _overview(
    observation: Observation, states: list[str], harmfulness: Mapping[str, np.ndarray]
) -> tuple[ResultTable, ResultTable]:
    """Return the summary of all states, and the two values of each that the first figure shows."""
    accuracy = 100 * observation["right"] / observation["questions"]
    means = {name: values.mean(axis=1) for name, values in harmfulness.items()}
    summary = make_table(
        "summary",
        "Harmfulness of prompts in the first pruned layer and above (0 to 1); accuracy (%)",
        ("state", *(f"harmfulness, {name}" for name in means), *map(str, observation["tasks"]), "mean accuracy"),
        (
            (state, *(float(mean[i]) for mean in means.values()), *accuracy[i].tolist(), float(accuracy[i].mean()))
            for i, state in enumerate(states)
        ),
    )
    both = make_table(
        "both",
        "Internal harmfulness of pseudo-harmful prompts against mean accuracy",
        ("state", "harmfulness", "accuracy"),
        ((state, float(means[PSEUDO][i]), float(accuracy[i].mean())) for i, state in enumerate(states)),
    )
    return summary, both


def _harmfulness_table(states: list[str], harmfulness: Mapping[str, np.ndarray]) -> ResultTable:
    return make_table(
        "harmfulness",
        "Mean probability of harm by the base model's probes, with 95 % intervals over prompts",
        ("state", "class", "harmfulness", "low", "high"),
        (
            (state, name, *mean_with_interval(values[i]))
            for i, state in enumerate(states)
            for name, values in harmfulness.items()
        ),
    )


def _ability_table(observation: Observation, states: list[str]) -> ResultTable:
    return make_table(
        "ability",
        "Accuracy on tasks of general ability, with 95 % Wilson intervals",
        ("state", "task", "accuracy", "low", "high", "questions"),
        (
            (state, str(task), found.percent, found.low, found.high, found.total)
            for state, correct in zip(states, observation["right"], strict=True)
            for task, successes, total in zip(observation["tasks"], correct, observation["questions"], strict=True)
            for found in [rate(int(successes), int(total))]
        ),
    )


def _summary(observation: Observation, states: list[str], harmfulness: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    tuned = "; ".join(f"{name} from {_change(values[1], values[2])}" for name, values in harmfulness.items())
    correct = "; ".join(f"{state} {int(row.sum())}" for state, row in zip(states, observation["right"], strict=True))
    base, pruned, _ = harmfulness[PSEUDO]
    return (
        f"Pruning changes the internal harmfulness of pseudo-harmful prompts from {_change(base, pruned)}; tuning to "
        f"refuse then changes {tuned}.",
        f"Questions of ability answered correctly, of {int(observation['questions'].sum())}: {correct}.",
        "The scale is the base model's probes. If tuning raises benign prompts as much as pseudo-harmful ones, it has "
        "moved the model off that scale, which says nothing about over-harmful encoding.",
    )


def _change(before: np.ndarray, after: np.ndarray) -> str:
    mean, low, high = mean_with_interval(after - before)
    return f"{before.mean():.2f} to {after.mean():.2f} ({mean:+.2f}, 95 % {low:+.2f} to {high:+.2f})"
