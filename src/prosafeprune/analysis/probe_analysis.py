"""How harmful a prompt looks to each submodule: linear probes by layer, before and after pruning (3.1, A.1)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prosafeprune.analysis.aggregates import (
    CHANGE_COLUMNS,
    by_role,
    changes_with_intervals,
    describe_changes,
    layer_means,
    mean_with_interval,
    submodule_labels,
    submodule_means,
)
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.harm_probe import PROBE_CLASSES, HarmProbe, cross_validated_accuracy, fit_harm_probe
from prosafeprune.analysis.result import AnalysisResult, HeatFigure, LineFigure, Observation, ResultTable, make_table
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest

SECONDS_PER_SUBMODULE = 0.3
REFITTED = "after, refitted probes"
"""The pruned model under probes fitted to it; "after" alone is the pruned model under the base model's probes."""
Probabilities = dict[str, tuple[Observation, np.ndarray]]
"""Maps the name in tables to an observation, and the probabilities of harm ``(submodules, prompts)``."""


class ProbeAnalysis(Analysis):
    """Probes fitted to benign and harmful calibration prompts, applied to test prompts of all classes.

    The base model's probes are applied to the pruned model too, so that one scale measures both. The results of probes
    fitted to the pruned model are shown next to them.
    """

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when a cross-validated probe would have no prompt of a class."""
        for name in PROBE_CLASSES:
            if len(prompts.calibration[name]) < 2:
                raise InputError(f"Probes need at least two {name.in_words} prompts. Pass more.")

    def workload(self, context: Context) -> Workload:
        """One pass over calibration and test prompts, and six fits per submodule."""
        fits = SECONDS_PER_SUBMODULE * len(context.anatomy.submodules)
        return context.pooled_workload("calibration", "test") + Workload(seconds=fits)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return accuracies, probes and the probability of harm of each test prompt, by submodule."""
        calibration, tested = context.pooled("calibration"), context.pooled("test")
        submodules = context.anatomy.submodules
        probes, accuracies, probabilities, by_base_probes = [], [], [], []
        base_probes = iter(_unpacked(before)) if before is not None else None
        with context.reporter.stage("Probes", len(submodules)) as advance:
            for submodule in submodules:
                classes = [calibration.activations(submodule, name) for name in PROBE_CLASSES]
                test = np.concatenate([tested.activations(submodule, name) for name in PromptClass])
                probe = fit_harm_probe(*classes)
                probes.append(probe)
                accuracies.append(cross_validated_accuracy(*classes))
                probabilities.append(probe.probability(test))
                if base_probes is not None:
                    by_base_probes.append(next(base_probes).probability(test))
                advance(1)
        test_sizes = [len(context.prompts.test[name]) for name in PromptClass]
        return {
            **submodule_labels(submodules),
            "accuracy": np.array(accuracies),
            "refitted": np.array(probabilities),
            "probability": np.array(by_base_probes or probabilities),
            "classes": np.repeat([name.in_words for name in PromptClass], test_sizes),
            **_packed(probes),
        }

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return the probability of harm by layer and by submodule, and the accuracy of the probes."""
        observations = by_role(before, after)
        probabilities: Probabilities = {
            role: (observation, observation["probability"]) for role, observation in observations.items()
        }
        if after is not None:
            probabilities[REFITTED] = (after, after["refitted"])
        submodules, accuracy = _by_submodule(probabilities), _accuracies(observations)
        figures = (
            _heat("heatmap", "Harmfulness of pseudo-harmful prompts", submodules, "harmfulness", "probability of harm"),
            LineFigure(
                name="layers",
                title="Harmfulness of test prompts by layer, with 95 % intervals",
                x="layer",
                y="harmfulness",
                by="class",
                panel="model",
                low="low",
                high="high",
                y_label="mean probability of harm (0 to 1)",
            ),
            _heat("accuracy", "Accuracy of the probes, cross-validated", accuracy, "accuracy", "accuracy"),
        )
        changes = [_change(role, before, *found) for role, found in probabilities.items() if role != "before"]
        tables = (_overall(probabilities), *changes, _by_layer(probabilities), submodules, accuracy)
        return AnalysisResult(tables=tables, figures=figures, summary=_summary(before, changes))


def _by_class(observation: Observation, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean over the submodules of each prompt's values, by class."""
    means = values.mean(axis=0)
    return {name: means[observation["classes"] == name] for name in _classes(observation)}


def _classes(observation: Observation) -> list[str]:
    return list(dict.fromkeys(map(str, observation["classes"])))


def _change(role: str, before: Observation, after: Observation, values: np.ndarray) -> ResultTable:
    rows = changes_with_intervals(_by_class(before, before["probability"]), _by_class(after, values))
    title = f"Mean change of the probability of harm per prompt ({role})"
    return make_table("change" if role == "after" else "change-refitted", title, ("class", *CHANGE_COLUMNS), rows)


def _summary(before: Observation, changes: Sequence[ResultTable]) -> tuple[str, ...]:
    means = {name: values.mean() for name, values in _by_class(before, before["probability"]).items()}
    summary = [describe_changes(table.rows, table.title) for table in reversed(changes)]
    summary.append(
        "Before pruning, the mean probability of harm is "
        + ", ".join(f"{mean:.2f} for {name} prompts" for name, mean in means.items())
        + f"; cross-validated, the probes classify {100 * before['accuracy'].mean():.0f} % of the calibration prompts "
        "correctly."
    )
    if changes:
        summary.append(
            '"after" applies the base model\'s probes to the pruned model: one scale for both. If only that value '
            "falls, pruning rotated the directions away from the probes. Refitted probes show if the classes moved."
        )
    return tuple(summary)


def _overall(probabilities: Probabilities) -> ResultTable:
    return make_table(
        "summary",
        "Mean probability of harm over all submodules, test prompts (0 to 1)",
        ("model", "class", "harmfulness", "low", "high"),
        (
            (role, name, *mean_with_interval(of_class))
            for role, (observation, values) in probabilities.items()
            for name, of_class in _by_class(observation, values).items()
        ),
    )


def _by_layer(probabilities: Probabilities) -> ResultTable:
    return make_table(
        "layers",
        "Probability of harm by layer, mean over its submodules and the test prompts of a class",
        ("model", "layer", "class", "harmfulness", "low", "high"),
        (
            (role, layer, name, *mean_with_interval(means[observation["classes"] == name]))
            for role, (observation, values) in probabilities.items()
            for layer, means in layer_means(observation, values)
            for name in _classes(observation)
        ),
    )


def _by_submodule(probabilities: Probabilities) -> ResultTable:
    pseudo = PromptClass.PSEUDO_HARMFUL.in_words
    return make_table(
        "submodules",
        "Probability of harm of pseudo-harmful test prompts by submodule",
        ("model", "layer", "submodule", "harmfulness"),
        (
            (role, layer, kind, float(mean))
            for role, (observation, values) in probabilities.items()
            for layer, kind, mean in submodule_means(
                observation, values[:, observation["classes"] == pseudo].mean(axis=1)
            )
        ),
    )


def _accuracies(observations: Mapping[str, Observation]) -> ResultTable:
    return make_table(
        "accuracy",
        "Cross-validated accuracy of the probes on calibration prompts",
        ("model", "layer", "submodule", "accuracy"),
        (
            (role, layer, kind, float(mean))
            for role, observation in observations.items()
            for layer, kind, mean in submodule_means(observation, observation["accuracy"])
        ),
    )


def _heat(name: str, title: str, table: ResultTable, value: str, value_label: str) -> HeatFigure:
    return HeatFigure(
        name=name,
        title=title,
        table=table.name,
        x="layer",
        y="submodule",
        value=value,
        panel="model",
        value_label=f"{value_label} (0 to 1)",
        lowest=0.5 if value == "accuracy" else 0.0,
    )


def _packed(probes: list[HarmProbe]) -> Observation:
    """Return the probes as arrays: all weights concatenated, and the start of each probe's weights."""
    return {
        "weights": np.concatenate([probe.weights for probe in probes]),
        "starts": np.cumsum([0, *(len(probe.weights) for probe in probes)]),
        "intercepts": np.array([probe.intercept for probe in probes]),
    }


def _unpacked(observation: Observation) -> Iterator[HarmProbe]:
    starts = observation["starts"]
    for start, end, intercept in zip(starts[:-1], starts[1:], observation["intercepts"], strict=True):
        yield HarmProbe(observation["weights"][start:end], float(intercept))
