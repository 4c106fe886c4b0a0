"""Tables, figures and summary of the alignment tax."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prosafeprune.analysis.aggregates import mean_with_interval
from prosafeprune.analysis.rates import rates_table
from prosafeprune.analysis.result import AnalysisResult, BarFigure, LineFigure, Observation, ResultTable, make_table
from prosafeprune.evaluation.scores import rate
from prosafeprune.prompts import PromptClass

HARMFULNESS = "harmfulness "
"""With a class: the key of its prompts' harmfulness ``(states, prompts)``."""
PSEUDO = PromptClass.PSEUDO_HARMFUL.in_words


def alignment_tax_result(observation: Observation) -> AnalysisResult:
    """Return harmfulness, accuracy and rates by state, with intervals."""
    states = [str(state) for state in observation["labels"]]
    harmfulness = {name.in_words: observation[f"{HARMFULNESS}{name.in_words}"] for name in PromptClass}
    tuning = make_table(
        "tuning",
        "Training loss on the refusals (nats per token)",
        ("epoch", "loss"),
        ((epoch, float(loss)) for epoch, loss in enumerate(observation["losses"], 1)),
    )
    return AnalysisResult(
        tables=(
            *_overview(observation, states, harmfulness),
            _harmfulness_table(states, harmfulness),
            _ability_table(observation, states),
            rates_table("rates", "C.R. and S.S. in each state", "state", observation),
            tuning,
        ),
        figures=_figures(),
        summary=_summary(observation, states, harmfulness),
    )


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
            (state, str(task), one.percent, one.low, one.high, one.total)
            for state, correct in zip(states, observation["right"], strict=True)
            for task, successes, total in zip(observation["tasks"], correct, observation["questions"], strict=True)
            for one in [rate(int(successes), int(total))]
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


def _figures() -> tuple[LineFigure, BarFigure, BarFigure]:
    return (
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
