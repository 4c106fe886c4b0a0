"""The alignment tax: harmfulness inside against general ability, when pruned and when tuned to refuse (5.2, fig. 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

from prosafeprune.ability import Question, find_task, read_task
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harmfulness import HarmfulnessScale
from prosafeprune.analysis.plan_of_model import require_plan
from prosafeprune.analysis.rates import rates_table
from prosafeprune.analysis.refusal_tuning import Tuned, Tuning, make_examples, tune
from prosafeprune.analysis.result import BarFigure, Findings, LineFigure, make_table
from prosafeprune.analysis.run_sweep import stack_outcomes, sweep_sets, sweep_split, treatment_of
from prosafeprune.analysis.summaries import mean_with_interval
from prosafeprune.analysis.sweep_analyses import PLAN_SETTINGS
from prosafeprune.analysis.sweep_answers import UNTREATED, Treatment
from prosafeprune.analysis.variants import Variant
from prosafeprune.editing.edits import Edit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.evaluation.scores import rate
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judge import AnswerClass
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalysisRequest
from prosafeprune.setup.load import require_layers

STATES = ("source", "pruned", "pruned, tuned to refuse")
FIRST_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|\n|$)")
HARMFULNESS = "harmfulness "
"""With a class: the harmfulness of its prompts ``(states, prompts)``."""
PASSES_A_STEP = 3
"""Forward passes that learning from a prompt costs as much as."""


class AlignmentTaxAnalysis(Analysis):
    """Three states of one model: as it is, pruned, and pruned and then tuned to refuse pseudo-harmful prompts."""

    settings = (*PLAN_SETTINGS, "ability", "ability_samples", "ability_tokens", "tuning_prompts", "tuning_epochs")
    compares = False

    def splits(self, request: AnalysisRequest) -> tuple[str, ...]:
        """Return the splits that the plan is made from and measured on."""
        return ("calibration", sweep_split(request))

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there is no plan, nothing to measure it on, or no question of ability."""
        require_plan(request, prompts.calibration)
        sweep_sets(request, prompts)
        if not request.ability:
            raise InputError("--ability: the alignment tax is measured by one task at least. Name one.")
        _questions(request)

    def work(self, context: Context) -> Work:
        """Answers of three states to prompts and questions, and a short training."""
        _require_plain(context)
        request, (states, _) = context.request, _three_states(context)
        sets = sweep_sets(request, context.prompts)
        prompts = sum(context.answers.missing(state, sets) for state in states)
        questions = len(states) * len(_questions(request)) * request.ability_tokens // request.max_new_tokens
        learned = PASSES_A_STEP * request.tuning_epochs * request.tuning_prompts
        return context.passes_for_pooled("calibration") + Work(
            passes=learned + len(states) * len(PromptClass) * request.sweep_samples,
            answers=prompts + questions + request.tuning_prompts,
        )

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return outcomes, harmfulness and right answers in each state, and the losses of the tuning."""
        _require_plain(context)
        request, plan = context.request, require_plan(context.request)
        require_layers(plan, context.anatomy)
        sets, questions = sweep_sets(request, context.prompts), _questions(request)
        states, learned = _three_states(context)
        scale = HarmfulnessScale(context, min(plan.layers))
        read = _read_prompts(context, sets)
        measured, right = [], []
        harmfulness: dict[PromptClass, list[np.ndarray]] = {name: [] for name in read}
        for treatment in states:
            measured.append(context.measure(treatment, sets))
            scores = context.answers.ability(treatment, questions, request.ability_tokens)
            right.append([scores[task].accuracy.successes for task in request.ability])
            found = scale.read(treatment.make_edits(), [text for texts in read.values() for text in texts])
            ends = np.cumsum([len(texts) for texts in read.values()])
            for name, values in zip(read, np.split(found, ends[:-1]), strict=True):
                harmfulness[name].append(values)
        return {
            "labels": np.array(STATES),
            "done": np.array(["nothing", *(one.title for one in states[1:])]),
            "tasks": np.array(request.ability),
            "questions": np.array([sum(one.task == task for one in questions) for task in request.ability]),
            "right": np.array(right),
            **{f"{HARMFULNESS}{name.in_words}": np.array(values) for name, values in harmfulness.items()},
            "losses": np.array(learned().losses),
            **stack_outcomes(measured),
        }

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return harmfulness, accuracy and rates by state, with intervals."""
        states, tasks = [str(one) for one in before["labels"]], [str(one) for one in before["tasks"]]
        accuracy = 100 * before["right"] / before["questions"]
        inside = {name.in_words: before[f"{HARMFULNESS}{name.in_words}"] for name in PromptClass}
        means = np.stack([values.mean(axis=1) for values in inside.values()], axis=1)
        rows = list(zip(states, means.tolist(), accuracy.tolist(), strict=True))
        summary = make_table(
            "summary",
            "Harmfulness of prompts in the pruned layers and all above (0 to 1); accuracy (%)",
            ("state", *(f"harmfulness, {name}" for name in inside), *tasks, "mean accuracy"),
            ((state, *harm, *of_tasks, float(np.mean(of_tasks))) for state, harm, of_tasks in rows),
        )
        harmfulness = make_table(
            "harmfulness",
            "Mean probability of harm that the source's probes read, with 95 % intervals over prompts",
            ("state", "class", "harmfulness", "low", "high"),
            (
                (state, name, *mean_with_interval(values[place]))
                for place, state in enumerate(states)
                for name, values in inside.items()
            ),
        )
        both = make_table(
            "both",
            "Harmfulness of pseudo-harmful prompts inside against mean accuracy",
            ("state", "harmfulness", "accuracy"),
            (
                (state, float(inside[PromptClass.PSEUDO_HARMFUL.in_words][place].mean()), float(accuracy[place].mean()))
                for place, state in enumerate(states)
            ),
        )
        ability = make_table(
            "ability",
            "Accuracy on tasks of general ability, with 95 % Wilson intervals",
            ("state", "task", "accuracy", "low", "high", "questions"),
            (
                (state, task, one.percent, one.low, one.high, one.total)
                for state, right in zip(states, before["right"], strict=True)
                for task, successes, total in zip(tasks, right, before["questions"], strict=True)
                for one in [rate(int(successes), int(total))]
            ),
        )
        rates = rates_table("rates", "C.R. and S.S. in each state", "state", before)
        tuning = make_table(
            "tuning",
            "Loss of the refusals while they were learned (nats a token)",
            ("epoch", "loss"),
            ((epoch, float(loss)) for epoch, loss in enumerate(before["losses"], 1)),
        )
        told = _told(inside, before["right"], before["questions"])
        return Findings(tables=(summary, both, harmfulness, ability, rates, tuning), figures=_figures(), told=told)


def _told(inside: Mapping[str, np.ndarray], right: np.ndarray, questions: np.ndarray) -> tuple[str, ...]:
    tuned = [
        f"{name} {values[1].mean():.2f} to {values[2].mean():.2f} ({_change(values[1], values[2])})"
        for name, values in inside.items()
    ]
    pseudo = inside[PromptClass.PSEUDO_HARMFUL.in_words]
    counts = ", ".join(f"{state} {int(of_state.sum())}" for state, of_state in zip(STATES, right, strict=True))
    return (
        f"Pruning changes the harmfulness of pseudo-harmful prompts inside from {pseudo[0].mean():.2f} to "
        f"{pseudo[1].mean():.2f} ({_change(pseudo[0], pseudo[1])}); tuning to refuse then changes {'; '.join(tuned)}.",
        f"Questions of ability answered rightly, of {int(questions.sum())}: {counts}.",
        "The ruler is the source's probes. Where the tuning lifts benign prompts as much as pseudo-harmful ones, it "
        "has moved the model from under the ruler, which says nothing of over-harmful encoding.",
    )


def _change(before: np.ndarray, after: np.ndarray) -> str:
    mean, low, high = mean_with_interval(after - before)
    return f"{mean:+.2f}, 95 % {low:+.2f} to {high:+.2f}"


def _read_prompts(context: Context, sets: Sequence[EvaluationSet]) -> dict[PromptClass, list[str]]:
    """Return the prompts whose harmfulness is read: those that are measured on, and as many benign ones."""
    found = {
        name: [text for one in sets if one.prompt_class is name for text in one.prompts.texts] for name in PromptClass
    }
    benign = context.prompts.of(sweep_split(context.request))[PromptClass.BENIGN]
    found[PromptClass.BENIGN] = benign.sample(context.request.sweep_samples, context.request.seed).texts
    return found


def shortened(answer: str) -> str:
    """Return an answer's first sentence, which is where a refusal refuses."""
    found = FIRST_SENTENCE.match(answer.strip())
    return found.group().strip() if found else ""


def _three_states(context: Context) -> tuple[list[Treatment], Callable[[], Tuned]]:
    """Return what is done to the model in each of ``STATES``, and what gives the tuning, which is done once."""
    request = context.request
    pruned = treatment_of(Variant(plan=require_plan(request)), context)
    tuning = Tuning(epochs=request.tuning_epochs, seed=request.seed)
    prompts = context.prompts.calibration[PromptClass.PSEUDO_HARMFUL].sample(request.tuning_prompts, request.seed)
    identity = {**pruned.identity, "tuning": tuning.model_dump(), "tuned_on": prompts.sha256, "judge": request.judge}

    @cache
    def learned() -> Tuned:
        examples = make_examples(context.loaded, prompts.texts, _own_refusals(context))
        with (
            apply_edits(pruned.make_edits()),
            context.reporter.stage("Tuning to refuse", tuning.epochs * len(examples)) as advance,
        ):
            return tune(context.loaded, context.anatomy, examples, tuning, advance)

    def make_edits() -> Sequence[Edit]:
        return [*pruned.make_edits(), *learned().edits]

    return [UNTREATED, pruned, Treatment(f"{pruned.title}, tuned to refuse", identity, make_edits)], learned


def _own_refusals(context: Context) -> list[str]:
    """Return how the source refuses harmful calibration prompts, in one sentence each.

    Raises:
        InputError: it refuses none of them.
    """
    request = context.request
    harmful = context.prompts.calibration[PromptClass.HARMFUL].sample(request.tuning_prompts, request.seed)
    (judged,) = context.measure(UNTREATED, [EvaluationSet("calibration-harmful", "calibration harmful", harmful)]).sets
    refusals = [
        shortened(answer)
        for answer, verdict in zip(judged.answers, judged.verdicts, strict=True)
        if verdict.answer_class is AnswerClass.FULL_REFUSAL
    ]
    if not refusals:
        raise InputError(
            f"The model refuses none of {len(harmful)} harmful prompts, so it has no words to be tuned on. Raise "
            "--tuning-prompts, or --max-new-tokens if its answers were cut."
        )
    return list(dict.fromkeys(refusals))


def _questions(request: AnalysisRequest) -> list[Question]:
    return [
        question
        for task in request.ability
        for question in read_task(find_task(task), request.data_dir, request.ability_samples, request.seed)
    ]


def _require_plain(context: Context) -> None:
    if context.local.subject.adapter is not None:
        raise InputError(f"{context.request.model}: is an adapter, which cannot be tuned. Give a whole checkpoint.")


def _figures() -> tuple[LineFigure | BarFigure, ...]:
    both = LineFigure(
        name="both",
        title="Alignment tax: harmfulness inside against general ability",
        table="both",
        x="harmfulness",
        y="accuracy",
        by="state",
        x_label="mean probability of harm of pseudo-harmful prompts (0 to 1)",
        y_label="mean accuracy over the tasks (%)",
    )
    harmfulness = BarFigure(
        name="harmfulness",
        title="Harmfulness of prompts inside the model",
        table="harmfulness",
        x="state",
        y="harmfulness",
        by="class",
        low="low",
        high="high",
        x_label="state of the model",
        y_label="mean probability of harm (0 to 1)",
    )
    ability = BarFigure(
        name="ability",
        title="General ability",
        table="ability",
        x="task",
        y="accuracy",
        by="state",
        low="low",
        high="high",
        x_label="task",
        y_label="accuracy (%), 95 % Wilson intervals",
    )
    return both, harmfulness, ability
