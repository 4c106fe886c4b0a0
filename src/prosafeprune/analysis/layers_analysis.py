"""Separability of the prompt classes: silhouettes by layer, the selected layer, and a map of one submodule there."""

from collections.abc import Mapping

import numpy as np
from sklearn.manifold import TSNE

from prosafeprune.activations.silhouettes import layer_silhouettes, silhouettes
from prosafeprune.analysis.aggregates import by_role, submodule_labels, submodule_means
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import AnalysisResult, LineFigure, Observation, ResultTable, ScatterFigure, make_table
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest

PERPLEXITY = 30.0
"""t-SNE's perplexity, where there are enough prompts for it."""
SECONDS_PER_SILHOUETTE, SECONDS_PER_MAP = 0.05, 8.0


class LayersAnalysis(Analysis):
    """Silhouettes (Eq. 4) of calibration prompts by layer, and a t-SNE map of one submodule's pooled activations."""

    settings = ("layer", "submodule")
    default_splits = ("calibration",)

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, a silhouette per submodule and one map."""
        seconds = SECONDS_PER_SILHOUETTE * len(context.anatomy.submodules) + SECONDS_PER_MAP
        return context.pooled_workload("calibration") + Workload(seconds=seconds)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the silhouettes by submodule and by layer, and the map of the selected submodule."""
        layers = layers_to_show(context)  # refused before the activations are computed
        pooled, submodules = context.pooled("calibration"), context.anatomy.submodules
        with context.reporter.stage("Silhouettes", len(submodules)) as advance:
            by_submodule = silhouettes(pooled.inputs, submodules, pooled.class_rows, advance)
        by_layer = layer_silhouettes(submodules, by_submodule)
        if before is not None:
            layer = int(before["shown_layer"])
        else:
            layer = select_layer(context, {one: by_layer[one] for one in layers})
        shown = select_submodule(context, layer, by_submodule)
        activations = [pooled.activations(shown, name) for name in PromptClass]
        return {
            **submodule_labels(submodules),
            "silhouettes": np.array(list(by_submodule.values())),
            "by_layer": np.array(list(by_layer.values())),
            "shown_layer": np.array(layer),
            "shown_kind": np.array(shown.kind),
            "map": _map(np.concatenate(activations), context.request.seed),
            "classes": np.repeat([name.in_words for name in PromptClass], [len(states) for states in activations]),
        }

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return silhouettes by layer and by submodule, and the maps."""
        observations = by_role(before, after)
        tables = _tables(observations)
        return AnalysisResult(tables=tables, figures=_figures(tables[-1].title), summary=_summary(observations))


def _summary(observations: Mapping[str, Observation]) -> tuple[str, ...]:
    peaks = [
        f"{role.capitalize()} pruning, the classes separate best in layer {int(observation['by_layer'].argmax())} of "
        f"0 to {len(observation['by_layer']) - 1}: silhouette {observation['by_layer'].max():.3f}, mean of all layers "
        f"{observation['by_layer'].mean():.3f}."
        for role, observation in observations.items()
    ]
    return (*peaks, "In the maps, only which points are close has a meaning; axes, areas and gaps have none.")


def _tables(observations: Mapping[str, Observation]) -> tuple[ResultTable, ...]:
    before = observations["before"]
    by_layer = {role: observation["by_layer"] for role, observation in observations.items()}
    peaks = make_table(
        "peak",
        "The layer that separates the classes best",
        ("model", "layer", "silhouette", "mean_of_layers"),
        ((role, int(values.argmax()), float(values.max()), float(values.mean())) for role, values in by_layer.items()),
    )
    layers = make_table(
        "layers",
        "Mean silhouette of each layer's submodules",
        ("model", "layer", "silhouette"),
        ((role, i, float(value)) for role, values in by_layer.items() for i, value in enumerate(values)),
    )
    submodules = make_table(
        "submodules",
        "Silhouette of each submodule",
        ("model", "layer", "submodule", "silhouette"),
        (
            (role, layer, kind, float(value))
            for role, observation in observations.items()
            for layer, kind, value in submodule_means(observation, observation["silhouettes"])
        ),
    )
    points = make_table(
        "map",
        f"t-SNE of layer {int(before['shown_layer'])}, {before['shown_kind']}",
        ("model", "class", "x", "y"),
        (
            (role, str(name), float(x), float(y))
            for role, observation in observations.items()
            for name, (x, y) in zip(observation["classes"], observation["map"], strict=True)
        ),
    )
    return peaks, layers, submodules, points


def _figures(map_title: str) -> tuple[LineFigure, ScatterFigure]:
    return (
        LineFigure(
            name="layers",
            title="Separability of the prompt classes",
            x="layer",
            y="silhouette",
            style="model",
            y_label="mean silhouette (-1 to 1)",
        ),
        ScatterFigure(
            name="map",
            title=map_title,
            x="x",
            y="y",
            by="class",
            panel="model",
            x_label="t-SNE dimension 1 (no unit)",
            y_label="t-SNE dimension 2 (no unit)",
        ),
    )


def _map(activations: np.ndarray, seed: int) -> np.ndarray:
    """Return the t-SNE map ``(n, 2)`` of activations ``(n, d)``; each map has its own scale."""
    if len(activations) < 4:
        raise InputError(f"A t-SNE map needs at least 4 prompts, not {len(activations)}. Pass more.")
    perplexity = min(PERPLEXITY, (len(activations) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed % 2**32)  # larger seeds are refused
    points: np.ndarray = tsne.fit_transform(activations)
    return points.astype(np.float64)


def layers_to_show(context: Context) -> list[int]:
    """Return the layers that may be shown: the requested one, or all that have the submodule that was named.

    Raises:
        InputError: the requested layer, or every layer, lacks it.
    """
    anatomy, request = context.anatomy, context.request
    layers = range(anatomy.num_layers) if request.layer is None else [request.layer]
    if "submodule" not in request.model_fields_set:
        return list(layers)
    found = [layer for layer in layers if any(matrix.kind == request.submodule for matrix in anatomy.of_layer(layer))]
    if not found:
        kinds = ", ".join(dict.fromkeys(matrix.kind for layer in layers for matrix in anatomy.of_layer(layer)))
        where = "the model" if request.layer is None else f"layer {request.layer}"
        raise InputError(f"--submodule {request.submodule}: {where} has {kinds}.")
    return found


def select_layer(context: Context, separability: Mapping[int, float]) -> int:
    """Return the requested layer, or the one whose classes separate best."""
    if context.request.layer is not None:
        return context.request.layer
    return max(separability, key=lambda layer: (separability[layer], -layer))


def select_submodule(context: Context, layer: int, separability: Mapping[str, float]) -> Submodule:
    """Return the requested submodule of a layer.

    In a model without a gate, the default, it is the submodule whose classes separate best.
    """
    submodules = context.anatomy.of_layer(layer)
    named = [submodule for submodule in submodules if submodule.kind == context.request.submodule]
    return named[0] if named else max(submodules, key=lambda submodule: separability[submodule.name])
