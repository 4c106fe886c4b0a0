"""Whether over-refusal has a single direction: each category's direction against the mean direction (5.3, table 4)."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.layers_analysis import select_layer
from prosafeprune.analysis.result import (
    AnalysisResult,
    BarFigure,
    HeatFigure,
    LineFigure,
    Observation,
    ResultTable,
    make_table,
)
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.files.cache import digest_of
from prosafeprune.method.separability import silhouette
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest

FEWEST = 4
"""Prompts of a category, so that each half has a mean."""
MARGIN = 0.05
"""How far below the noise ceiling a cosine must be to be reported; the estimate is no better than that."""
SECONDS_PER_LAYER = 0.2
PSEUDO = PromptClass.PSEUDO_HARMFUL
HALVINGS = 20
"""Random halvings of a category."""
LEAST_SIGNAL = 1e-3
"""The least cosine of two halves; a smaller one is not distinguishable from 0 with so few prompts."""


class CategoriesAnalysis(Analysis):
    """Cosines between the directions of categories, the mean direction, and halves of one category.

    Directions of few prompts are noisy, which alone makes cosines small. The cosine of two halves of a category
    shows how noisy, and so what cosine to expect if there were only one direction.
    """

    settings = ("layer",)
    default_splits = ("calibration",)
    compares = False

    def further_inputs(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> Mapping[str, str]:
        """Return the hash of the prompts' categories."""
        return {"categories": digest_of([prompt.category for prompt in prompts.calibration[PSEUDO]])}

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when fewer than two categories have enough prompts."""
        if len(_categories(prompts)) < 2:
            raise InputError(
                f"Cosines between categories need two categories of at least {FEWEST} pseudo-harmful prompts. Pass a "
                "--pseudo-harmful file with a column 'category', or more --samples."
            )

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, and a few means per layer."""
        return context.states_workload("calibration") + Workload(seconds=SECONDS_PER_LAYER * context.anatomy.num_layers)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return cosines by layer: with the mean direction, with the others' mean, between categories and halves."""
        by_class = context.last_states("calibration")
        names = _categories(context.prompts)
        filed = [prompt.category for prompt in context.prompts.calibration[PSEUDO]]
        members = [np.flatnonzero([category == name for category in filed]) for name in names]
        labels = np.repeat([name.value for name in by_class], [last.states.shape[1] for last in by_class.values()])
        separability, cosines = {}, []
        with context.reporter.stage("Directions", context.anatomy.num_layers) as advance:
            for layer in range(context.anatomy.num_layers):
                points = {name: last.states[layer].double().numpy() for name, last in by_class.items()}
                separability[layer] = silhouette(np.concatenate(list(points.values())), labels)
                benign = points[PromptClass.BENIGN].mean(axis=0)
                cosines.append(direction_cosines(points[PSEUDO], benign, members))
                advance(1)
        return {name: np.array([of_layer[name] for of_layer in cosines]) for name in cosines[0]} | {
            "categories": np.array(names),
            "counts": np.array([len(rows) for rows in members]),
            "left_out": np.array(sorted({category for category in filed if category} - set(names)), dtype=np.str_),
            "layer": np.array(select_layer(context, separability)),
        }

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return table 4 for one layer, the cosines between categories there, and the means by layer."""
        layer = int(before["layer"])
        names = [str(name) for name in before["categories"]]
        counts = [int(count) for count in before["counts"]]
        cosines = {
            "mean direction": before["mean"],
            "mean direction of the other categories": before["others"],
            "noise ceiling of the latter": noise_ceiling(before["halves"], before["halves_of_others"]),
        }
        in_layer = {other: values[layer] for other, values in cosines.items()}
        summary, categories = _category_tables(layer, names, counts, in_layer)
        pairs = _pairs_table(layer, names, before["pairs"][layer])
        layers = _layers_table({other: values.mean(axis=1) for other, values in cosines.items()})
        return AnalysisResult(
            tables=(summary, categories, pairs, layers),
            figures=_figures(categories.title, pairs.title, layers.title),
            summary=_summary(summary, [str(category) for category in before["left_out"]]),
        )


def _category_tables(
    layer: int, names: Sequence[str], counts: Sequence[int], cosines: Mapping[str, np.ndarray]
) -> tuple[ResultTable, ResultTable]:
    """Return table 4, with a column for each kind of cosine, and the same with a row for each, for the figure."""
    title = f"Cosine of each category's direction, layer {layer}"
    summary = make_table(
        "summary",
        title,
        ("category", "prompts", *cosines),
        ((name, counts[i], *(float(values[i]) for values in cosines.values())) for i, name in enumerate(names)),
    )
    categories = make_table(
        "categories",
        title,
        ("category", "with", "cosine"),
        ((name, other, float(values[i])) for i, name in enumerate(names) for other, values in cosines.items()),
    )
    return summary, categories


def _pairs_table(layer: int, names: Sequence[str], cosines: np.ndarray) -> ResultTable:
    return make_table(
        "pairs",
        f"Cosine between the directions of two categories, layer {layer}",
        ("category", "other", "cosine"),
        ((a, b, float(cosines[i, j])) for i, a in enumerate(names) for j, b in enumerate(names)),
    )


def _layers_table(means: Mapping[str, np.ndarray]) -> ResultTable:
    return make_table(
        "layers",
        "Mean cosine over categories, by layer",
        ("layer", "with", "cosine"),
        ((layer, other, float(mean)) for other, by_layer in means.items() for layer, mean in enumerate(by_layer)),
    )


def _categories(prompts: AnalysisPrompts) -> list[str]:
    """Return the categories with enough pseudo-harmful calibration prompts, in alphabetical order."""
    counts = Counter(prompt.category for prompt in prompts.calibration[PSEUDO] if prompt.category)
    return sorted(name for name, count in counts.items() if count >= FEWEST)


def _summary(table: ResultTable, left_out: Sequence[str]) -> tuple[str, ...]:
    rows = [(str(name), float(str(others)), float(str(ceiling))) for name, _, _, others, ceiling in table.rows]
    below = [f"{name} ({others:.2f} of {ceiling:.2f})" for name, others, ceiling in rows if others < ceiling - MARGIN]
    cosines = [others for _, others, _ in rows]
    summary = [
        f"{table.title}: {min(cosines):.2f} to {max(cosines):.2f} with the mean of the other categories. With a single "
        "direction, noise alone would lower it to the last column; "
        + (f"clearly below that: {', '.join(below)}." if below else "none is clearly below that."),
        "The paper takes cosines below 1 as separate directions. Few prompts alone make cosines small; compare "
        "with the last column, which is an estimate too.",
    ]
    if left_out:
        summary.append(f"Left out for having fewer than {FEWEST} prompts: {', '.join(left_out)}.")
    return tuple(summary)


def _figures(of_categories: str, of_pairs: str, by_layer: str) -> tuple[BarFigure, HeatFigure, LineFigure]:
    return (
        BarFigure(
            name="categories",
            title=of_categories,
            x="category",
            y="cosine",
            by="with",
            x_label="category of pseudo-harmful prompts",
            y_label="cosine (-1 to 1)",
        ),
        HeatFigure(
            name="pairs",
            title=of_pairs,
            x="category",
            y="other",
            value="cosine",
            y_label="category",
            value_label="cosine",
            lowest=-1.0,
        ),
        LineFigure(name="layers", title=by_layer, x="layer", y="cosine", by="with", y_label="cosine (-1 to 1)"),
    )


def direction_cosines(points: np.ndarray, benign: np.ndarray, members: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the cosines of the categories' directions in one layer.

    Args:
        points: states of the pseudo-harmful prompts ``(n, d)``.
        benign: mean state of the benign prompts ``(d,)``.
        members: the rows of each category.

    Returns:
        Cosines with the ``mean`` direction ``(categories,)``, with the mean of the ``others`` ``(categories,)``, of
        ``pairs`` of categories ``(categories, categories)``, between random ``halves`` of a category
        ``(categories,)``, and between halves of the others, ``halves_of_others`` ``(categories,)``: the means of one
        half of each.
    """
    halves = [_halves(points[rows] - benign) for rows in members]
    halves_of_all = np.sum(halves, axis=0)
    directions = np.stack([points[rows].mean(axis=0) - benign for rows in members])
    others = (directions.sum(axis=0) - directions) / (len(members) - 1)
    return {
        "mean": _cosine(directions, directions.mean(axis=0)[None]),
        "others": _cosine(directions, others),
        "pairs": _cosine(directions[:, None], directions[None]),
        "halves": np.array([_cosine_of_halves(of_category) for of_category in halves]),
        "halves_of_others": np.array([_cosine_of_halves(halves_of_all - of_category) for of_category in halves]),
    }


def noise_ceiling(halves: np.ndarray, halves_of_others: np.ndarray) -> np.ndarray:
    """Return the expected cosine of a category with the mean of the others if all shared one direction.

    With ``h`` the cosine of a direction's halves, the share of signal in its square is ``2 h / (1 + h)`` (the
    Spearman-Brown formula). The cosine is the root of the product of both shares. That of the others comes from halves
    of their mean: from the noise of each it would depend on the noisiest category alone.

    Args:
        halves: the cosine of each category's halves ``(..., categories)``.
        halves_of_others: the same of the mean of the other categories.
    """
    signals = (np.clip(cosines, LEAST_SIGNAL, None) for cosines in (halves, halves_of_others))
    share, share_of_others = (2 * signal / (1 + signal) for signal in signals)
    ceiling: np.ndarray = np.sqrt(share * share_of_others)
    return ceiling


def _halves(differences: np.ndarray) -> np.ndarray:
    """Return the directions of two random halves of a category's prompts ``(n, d)``, ``(HALVINGS, 2, d)``."""
    random = np.random.default_rng(0)
    orders = [random.permutation(len(differences)) for _ in range(HALVINGS)]
    return np.array([[differences[order[start::2]].mean(axis=0) for start in (0, 1)] for order in orders])


def _cosine_of_halves(halves: np.ndarray) -> float:
    """Return the mean cosine of two halves, over halvings ``(HALVINGS, 2, d)``."""
    return float(_cosine(halves[:, 0], halves[:, 1]).mean())


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosines along the last axis; 0 for a zero vector."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines: np.ndarray = (one * other).sum(axis=-1) / np.where(lengths > 0, lengths, 1.0)
    return cosines
