"""How well the prompt classes separate: silhouettes by layer, and one submodule's activations seen from close by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.manifold import TSNE

from prosafeprune.activations.silhouettes import layer_silhouettes, silhouettes
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import Findings, LineFigure, ScatterFigure, Table, make_table
from prosafeprune.analysis.shown_layer import chosen_layer, chosen_submodule
from prosafeprune.analysis.summaries import by_role, submodule_labels, submodule_means
from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalysisRequest

NEIGHBOURS = 30.0
"""t-SNE's perplexity, where there are prompts enough for it."""
SECONDS_A_SILHOUETTE, SECONDS_A_MAP = 0.05, 8.0


class LayersAnalysis(Analysis):
    """Silhouettes (Eq. 4) of calibration prompts by layer, and a t-SNE map of one submodule's pooled activations."""

    settings = ("layer", "submodule")
    reads = ("calibration",)

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, a silhouette for each submodule and one map."""
        computed = SECONDS_A_SILHOUETTE * len(context.anatomy.submodules) + SECONDS_A_MAP
        return context.passes_for_pooled("calibration") + Work(seconds=computed)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the silhouettes by submodule and by layer, and the map of the chosen submodule."""
        pooled, submodules = context.pooled("calibration"), context.anatomy.submodules
        with context.reporter.stage("Silhouettes", len(submodules)) as advance:
            by_submodule = silhouettes(pooled.inputs, submodules, pooled.class_rows, advance)
        by_layer = layer_silhouettes(submodules, by_submodule)
        layer = int(before["shown_layer"]) if before is not None else chosen_layer(context, by_layer)
        shown = chosen_submodule(context, layer, by_submodule)
        activations = [pooled.activations(shown, name) for name in PromptClass]
        return {
            **submodule_labels(submodules),
            "silhouettes": np.array(list(by_submodule.values())),
            "by_layer": np.array(list(by_layer.values())),
            "shown_layer": np.array(layer),
            "shown_kind": np.array(shown.kind),
            "map": _map(np.concatenate(activations), context.request.seed),
            "classes": np.repeat([name.in_words for name in PromptClass], [len(one) for one in activations]),
        }

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return silhouettes by layer and by submodule, and the maps."""
        seen = by_role(before, after)
        tables = _tables(seen)
        return Findings(tables=tables, figures=_figures(tables[-1].title), told=_told(seen))


def _told(seen: Mapping[str, Observation]) -> tuple[str, ...]:
    found = [
        f"{role.capitalize()} pruning, the classes separate best in layer {int(one['by_layer'].argmax())} of "
        f"0 to {len(one['by_layer']) - 1}: silhouette {one['by_layer'].max():.3f}, mean of all layers "
        f"{one['by_layer'].mean():.3f}."
        for role, one in seen.items()
    ]
    return (*found, "In the maps near and far mean something; axes, areas and gaps do not.")


def _tables(seen: Mapping[str, Observation]) -> tuple[Table, ...]:
    shown = seen["before"]
    peaks = make_table(
        "peak",
        "Where the classes separate best",
        ("model", "layer", "silhouette", "mean_of_layers"),
        (
            (role, int(one["by_layer"].argmax()), float(one["by_layer"].max()), float(one["by_layer"].mean()))
            for role, one in seen.items()
        ),
    )
    layers = make_table(
        "layers",
        "Mean silhouette of each layer's submodules",
        ("model", "layer", "silhouette"),
        ((role, layer, float(value)) for role, one in seen.items() for layer, value in enumerate(one["by_layer"])),
    )
    submodules = make_table(
        "submodules",
        "Silhouette of each submodule",
        ("model", "layer", "submodule", "silhouette"),
        (
            (role, layer, kind, float(value))
            for role, one in seen.items()
            for layer, kind, value in submodule_means(one, one["silhouettes"])
        ),
    )
    points = make_table(
        "map",
        f"t-SNE of layer {int(shown['shown_layer'])}, {shown['shown_kind']}",
        ("model", "class", "x", "y"),
        (
            (role, str(name), float(x), float(y))
            for role, one in seen.items()
            for name, (x, y) in zip(one["classes"], one["map"], strict=True)
        ),
    )
    return peaks, layers, submodules, points


def _figures(map_title: str) -> tuple[LineFigure, ScatterFigure]:
    return (
        LineFigure(
            name="layers",
            title="Separability of the prompt classes",
            table="layers",
            x="layer",
            y="silhouette",
            style="model",
            x_label="layer",
            y_label="mean silhouette (-1 to 1)",
        ),
        ScatterFigure(
            name="map",
            title=map_title,
            table="map",
            x="x",
            y="y",
            by="class",
            panel="model",
            x_label="t-SNE dimension 1 (no unit)",
            y_label="t-SNE dimension 2 (no unit)",
        ),
    )


def _map(activations: np.ndarray, seed: int) -> np.ndarray:
    """Return the t-SNE map ``(n, 2)`` of activations ``(n, d)``, each map on a scale of its own."""
    if len(activations) < 4:
        raise InputError(f"A t-SNE map needs 4 prompts at least, and there are {len(activations)}.")
    perplexity = min(NEIGHBOURS, (len(activations) - 1) / 3)
    found: np.ndarray = TSNE(init="pca", perplexity=perplexity, random_state=seed).fit_transform(activations)
    return found.astype(np.float64)
