"""How harmful each submodule takes a prompt to be: linear probes by layer, before and after pruning (3.1, A.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harm_probe import HarmProbe, cross_validated_accuracy, fit_harm_probe
from prosafeprune.analysis.result import Findings, HeatFigure, LineFigure, Table, make_table
from prosafeprune.analysis.summaries import (
    CHANGE_COLUMNS,
    by_role,
    changes_told,
    changes_with_intervals,
    layer_means,
    mean_with_interval,
    submodule_labels,
    submodule_means,
)
from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalysisRequest

SECONDS_A_SUBMODULE = 0.3
REFITTED = "after, probes fitted anew"
"""A pruned model read by probes that were fitted to itself; "after" alone is read by those of the source."""
FITTED_ON = (PromptClass.BENIGN, PromptClass.HARMFUL)
Readings = dict[str, tuple[Observation, np.ndarray]]
"""What is read of which model: its observation, and the probabilities ``(submodules, prompts)``."""


class ProbeAnalysis(Analysis):
    """Probes fitted on benign and harmful calibration prompts, read on test prompts of all classes.

    The probes of the source are applied to the pruned model as well, since one ruler must measure both; what probes
    find that were fitted to the pruned model is told beside it.
    """

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when a probe that leaves one prompt out would have none of a class."""
        for name in FITTED_ON:
            if len(prompts.calibration[name]) < 2:
                raise InputError(f"Probes need two {name.in_words} prompts at least. Give more.")

    def work(self, context: Context) -> Work:
        """One pass over calibration and test prompts, and six fits for each submodule."""
        computed = SECONDS_A_SUBMODULE * len(context.anatomy.submodules)
        return context.passes_for_pooled("calibration", "test") + Work(seconds=computed)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return accuracies, probes and the probability of harm of each test prompt, by submodule."""
        calibration, tested = context.pooled("calibration"), context.pooled("test")
        submodules = context.anatomy.submodules
        probes, accuracies, probabilities, by_source = [], [], [], []
        source_probes = iter(_unpacked(before)) if before is not None else None
        with context.reporter.stage("Probes", len(submodules)) as advance:
            for submodule in submodules:
                fitted = [calibration.activations(submodule, name) for name in FITTED_ON]
                harmful = np.repeat([name is PromptClass.HARMFUL for name in FITTED_ON], [len(one) for one in fitted])
                test = np.concatenate([tested.activations(submodule, name) for name in PromptClass])
                probe = fit_harm_probe(np.concatenate(fitted), harmful)
                probes.append(probe)
                accuracies.append(cross_validated_accuracy(np.concatenate(fitted), harmful))
                probabilities.append(probe.probability(test))
                if source_probes is not None:
                    by_source.append(next(source_probes).probability(test))
                advance(1)
        test_sizes = [len(context.prompts.test[name]) for name in PromptClass]
        return {
            **submodule_labels(submodules),
            "accuracy": np.array(accuracies),
            "refitted": np.array(probabilities),
            "probability": np.array(by_source or probabilities),
            "classes": np.repeat([name.in_words for name in PromptClass], test_sizes),
            **_packed(probes),
        }

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return the probability of harm by layer and by submodule, and the probes' accuracy."""
        seen = by_role(before, after)
        read: Readings = {role: (one, one["probability"]) for role, one in seen.items()}
        if after is not None:
            read[REFITTED] = (after, after["refitted"])
        submodules, accuracy = _by_submodule(read), _accuracies(seen)
        figures = (
            _heat("heatmap", "Harmfulness of pseudo-harmful prompts", submodules, "harmfulness", "probability of harm"),
            LineFigure(
                name="layers",
                title="Harmfulness of test prompts by layer, with 95 % intervals",
                table="layers",
                x="layer",
                y="harmfulness",
                by="class",
                panel="model",
                low="low",
                high="high",
                x_label="layer",
                y_label="mean probability of harm (0 to 1)",
            ),
            _heat("accuracy", "Accuracy of the probes, cross-validated", accuracy, "accuracy", "share told rightly"),
        )
        changes = [
            _change(name, seen["before"], one, values) for name, (one, values) in read.items() if name != "before"
        ]
        tables = (_summary(read), *changes, _by_layer(read), submodules, accuracy)
        return Findings(tables=tables, figures=figures, told=_told(before, changes))


def _of_classes(seen: Observation, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return each prompt's mean over the submodules, by class."""
    means = values.mean(axis=0)
    return {name: means[seen["classes"] == name] for name in dict.fromkeys(map(str, seen["classes"]))}


def _change(role: str, before: Observation, after: Observation, values: np.ndarray) -> Table:
    rows = changes_with_intervals(_of_classes(before, before["probability"]), _of_classes(after, values))
    title = f"Change of the mean probability of harm, prompt by prompt ({role})"
    return make_table("change" if role == "after" else "change-refitted", title, ("class", *CHANGE_COLUMNS), rows)


def _told(before: Observation, changes: Sequence[Table]) -> tuple[str, ...]:
    means = {name: values.mean() for name, values in _of_classes(before, before["probability"]).items()}
    told = [changes_told(table.rows, table.title) for table in reversed(changes)]
    told.append(
        "Before pruning, the probes give a mean probability of harm of "
        + ", ".join(f"{mean:.2f} to {name} prompts" for name, mean in means.items())
        + f"; they tell {100 * before['accuracy'].mean():.0f} % of unseen calibration prompts rightly."
    )
    if changes:
        told.append(
            '"after" reads the pruned model by the probes of the source, one ruler for both; where only that falls, '
            "the pruning turned directions away from the ruler. Probes fitted anew tell whether the classes moved."
        )
    return tuple(told)


def _summary(read: Readings) -> Table:
    return make_table(
        "summary",
        "Mean probability of harm over all submodules, test prompts (0 to 1)",
        ("model", "class", "harmfulness", "low", "high"),
        (
            (role, name, *mean_with_interval(values[:, one["classes"] == name].mean(axis=0)))
            for role, (one, values) in read.items()
            for name in dict.fromkeys(map(str, one["classes"]))
        ),
    )


def _by_layer(read: Readings) -> Table:
    return make_table(
        "layers",
        "Probability of harm by layer, mean over its submodules and the test prompts of a class",
        ("model", "layer", "class", "harmfulness", "low", "high"),
        (
            (role, layer, name, *mean_with_interval(means[one["classes"] == name]))
            for role, (one, values) in read.items()
            for layer, means in layer_means(one, values)
            for name in dict.fromkeys(map(str, one["classes"]))
        ),
    )


def _by_submodule(read: Readings) -> Table:
    pseudo = PromptClass.PSEUDO_HARMFUL.in_words
    return make_table(
        "submodules",
        "Probability of harm of pseudo-harmful test prompts by submodule",
        ("model", "layer", "submodule", "harmfulness"),
        (
            (role, layer, kind, float(mean))
            for role, (one, values) in read.items()
            for layer, kind, mean in submodule_means(one, values[:, one["classes"] == pseudo].mean(axis=1))
        ),
    )


def _accuracies(seen: Mapping[str, Observation]) -> Table:
    return make_table(
        "accuracy",
        "Share of calibration prompts told rightly by probes that had not seen them",
        ("model", "layer", "submodule", "accuracy"),
        (
            (role, layer, kind, float(mean))
            for role, one in seen.items()
            for layer, kind, mean in submodule_means(one, one["accuracy"])
        ),
    )


def _heat(name: str, title: str, table: Table, value: str, value_label: str) -> HeatFigure:
    return HeatFigure(
        name=name,
        title=title,
        table=table.name,
        x="layer",
        y="submodule",
        value=value,
        panel="model",
        x_label="layer",
        y_label="submodule",
        value_label=f"{value_label} (0 to 1)",
        lowest=0.5 if value == "accuracy" else 0.0,
    )


def _packed(probes: list[HarmProbe]) -> Observation:
    """Return the probes as arrays: all weights one behind the other, and where each probe's begin."""
    return {
        "weights": np.concatenate([probe.weights for probe in probes]),
        "starts": np.cumsum([0, *(len(probe.weights) for probe in probes)]),
        "intercepts": np.array([probe.intercept for probe in probes]),
    }


def _unpacked(seen: Observation) -> Iterator[HarmProbe]:
    for place, intercept in enumerate(seen["intercepts"]):
        weights = seen["weights"][seen["starts"][place] : seen["starts"][place + 1]]
        yield HarmProbe(weights, float(intercept))
