"""Is there one direction of over-refusal? Each category's direction against the mean one (5.3, table 4).

A category's direction is the mean of its pseudo-harmful prompts less that of the benign prompts, in the residual
stream at the last prompt token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis, Observation, Work
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.result import BarFigure, Findings, HeatFigure, LineFigure, Table, make_table
from prosafeprune.analysis.shown_layer import chosen_layer
from prosafeprune.errors import InputError
from prosafeprune.method.separability import silhouette
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalysisRequest

FEWEST = 4
"""Prompts of a category, so that both of its halves have a mean."""
SPLITS = 20
"""Random halvings of a category."""
LEAST_SIGNAL = 1e-3
"""Halves that have less in common than this are told apart from none by no number of prompts here."""
CLEARLY = 0.05
"""How far below what noise allows a cosine is told of; the estimate is not better than that."""
PSEUDO = PromptClass.PSEUDO_HARMFUL


class CategoriesAnalysis(Analysis):
    """Cosines between the directions of categories, the mean direction, and halves of one category.

    Directions of few prompts are noisy, which alone makes cosines small. How alike two halves of one category are tells
    how noisy they are, and so what cosine to expect were there only one direction.
    """

    settings = ("layer",)
    reads = ("calibration",)
    compares = False

    def check(self, request: AnalysisRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when there are not two categories with enough prompts."""
        if len(_categories(prompts)) < 2:
            raise InputError(
                f"Cosines between categories need two categories of {FEWEST} pseudo-harmful prompts at least. Give a "
                "--pseudo-harmful file with a column 'category', or more --samples."
            )

    def work(self, context: Context) -> Work:
        """One pass over the calibration prompts, and a few means for each layer."""
        return context.passes_for_states("calibration") + Work(seconds=0.2 * context.anatomy.num_layers)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return cosines by layer: to the mean direction, to that of the others, between categories, between halves."""
        by_class = context.last_states("calibration")
        names = _categories(context.prompts)
        filed = [prompt.category for prompt in context.prompts.calibration[PSEUDO]]
        members = [np.flatnonzero([one == name for one in filed]) for name in names]
        labels = np.repeat([name.value for name in by_class], [one.states.shape[1] for one in by_class.values()])
        separability, cosines = {}, []
        with context.reporter.stage("Directions", context.anatomy.num_layers) as advance:
            for layer in range(context.anatomy.num_layers):
                points = {name: one.states[layer].double().numpy() for name, one in by_class.items()}
                separability[layer] = silhouette(np.concatenate(list(points.values())), labels)
                cosines.append(_cosines(points[PSEUDO], points[PromptClass.BENIGN].mean(axis=0), members))
                advance(1)
        found = {name: np.array([one[name] for one in cosines]) for name in cosines[0]}
        filed_under = {prompt.category for prompt in context.prompts.calibration[PSEUDO] if prompt.category}
        return found | {
            "categories": np.array(names),
            "counts": np.array([len(rows) for rows in members]),
            "left_out": np.array(sorted(filed_under - set(names)), dtype=np.str_),
            "layer": np.array(chosen_layer(context, separability)),
        }

    def conclude(self, request: AnalysisRequest, before: Observation, after: Observation | None) -> Findings:
        """Return table 4 for one layer, the cosines between categories there, and the means by layer."""
        layer, names = int(before["layer"]), [str(name) for name in before["categories"]]
        told = {
            "mean direction": before["mean"],
            "mean direction of the other categories": before["others"],
            "what noise allows the latter": ceiling(before["halves"]),
        }
        counts = [int(one) for one in before["counts"]]
        summary = make_table(
            "summary",
            f"Cosine of each category's direction, layer {layer}",
            ("category", "prompts", *told),
            (
                (name, counts[place], *(float(one[layer, place]) for one in told.values()))
                for place, name in enumerate(names)
            ),
        )
        table = make_table(
            "categories",
            summary.title,
            ("category", "with", "cosine"),
            (
                (name, other, float(values[layer, place]))
                for place, name in enumerate(names)
                for other, values in told.items()
            ),
        )
        pairs = make_table(
            "pairs",
            f"Cosine between the directions of two categories, layer {layer}",
            ("category", "other", "cosine"),
            (
                (one, other, float(before["pairs"][layer, i, j]))
                for i, one in enumerate(names)
                for j, other in enumerate(names)
            ),
        )
        layers = make_table(
            "layers",
            "Mean cosine over categories, by layer",
            ("layer", "with", "cosine"),
            (
                (place, other, float(value))
                for other, values in told.items()
                for place, value in enumerate(values.mean(axis=1))
            ),
        )
        tables = (summary, table, pairs, layers)
        figures = _figures(table.title, pairs.title, layers.title)
        return Findings(tables=tables, figures=figures, told=_told(summary, [str(one) for one in before["left_out"]]))


def _told(summary: Table, left_out: Sequence[str]) -> tuple[str, ...]:
    rows = [(str(name), float(str(others)), float(str(most))) for name, _, _, others, most in summary.rows]
    below = [f"{name} ({others:.2f} of {most:.2f})" for name, others, most in rows if others < most - CLEARLY]
    cosines = [others for _, others, _ in rows]
    told = [
        f"{summary.title}: with the mean of the other categories {min(cosines):.2f} to {max(cosines):.2f}. Were there "
        "one direction only, noise alone would make it as small as the last column says; "
        + (f"clearly below that: {', '.join(below)}." if below else "none is clearly below that."),
        "The paper takes cosines below 1 as directions of their own. Few prompts make cosines small by themselves; "
        "compare with the last column, which is an estimate too.",
    ]
    if left_out:
        told.append(f"Left out for having fewer than {FEWEST} prompts: {', '.join(left_out)}.")
    return tuple(told)


def _figures(of_each: str, of_pairs: str, by_layer: str) -> tuple[BarFigure, HeatFigure, LineFigure]:
    return (
        BarFigure(
            name="categories",
            title=of_each,
            table="categories",
            x="category",
            y="cosine",
            by="with",
            x_label="category of pseudo-harmful prompts",
            y_label="cosine (-1 to 1)",
        ),
        HeatFigure(
            name="pairs",
            title=of_pairs,
            table="pairs",
            x="category",
            y="other",
            value="cosine",
            x_label="category",
            y_label="category",
            value_label="cosine",
            lowest=-1.0,
        ),
        LineFigure(
            name="layers",
            title=by_layer,
            table="layers",
            x="layer",
            y="cosine",
            by="with",
            x_label="layer",
            y_label="cosine (-1 to 1)",
        ),
    )


def _categories(prompts: AnalysisPrompts) -> list[str]:
    """Return the categories with enough pseudo-harmful calibration prompts, in alphabetical order."""
    counts = Counter(prompt.category for prompt in prompts.calibration[PSEUDO] if prompt.category)
    return sorted(name for name, count in counts.items() if count >= FEWEST)


def _cosines(points: np.ndarray, benign: np.ndarray, members: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the cosines of one layer, by category.

    Args:
        points: states of the pseudo-harmful prompts ``(n, d)``.
        benign: mean state of the benign ones ``(d,)``.
        members: the rows of each category.
    """
    directions = np.stack([points[rows].mean(axis=0) - benign for rows in members])
    mean = directions.mean(axis=0)
    others = (directions.sum(axis=0) - directions) / (len(members) - 1)
    return {
        "mean": _cosine(directions, mean[None]),
        "others": _cosine(directions, others),
        "pairs": _cosine(directions[:, None], directions[None]),
        "halves": np.array([_cosine_of_halves(points[rows] - benign) for rows in members]),
    }


def ceiling(halves: np.ndarray) -> np.ndarray:
    """Return the cosine to expect of a category's direction and the mean of the others', were they one but for noise.

    With ``h`` the cosine of a category's halves, the share of signal in its direction's square is ``2 h / (1 + h)``
    (Spearman and Brown's formula). The mean of the others holds the same signal, and the mean of their noise. The
    cosine is the root of the product of both shares.

    Args:
        halves: the cosine of each category's halves ``(..., categories)``.
    """
    signal = np.clip(halves, LEAST_SIGNAL, None)
    share = 2 * signal / (1 + signal)
    noise = 1 / share - 1  # of one direction, in units of the signal
    others = halves.shape[-1] - 1
    noise_of_others = (noise.sum(axis=-1, keepdims=True) - noise) / others**2
    found: np.ndarray = np.sqrt(share / (1 + noise_of_others))
    return found


def _cosine_of_halves(differences: np.ndarray) -> float:
    """Return the mean cosine between the directions of two random halves of a category's prompts ``(n, d)``."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(SPLITS):
        order = random.permutation(len(differences))
        halves = [differences[order[start::2]].mean(axis=0) for start in (0, 1)]
        found.append(float(_cosine(*halves)))
    return float(np.mean(found))


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosines along the last axis; 0 where a vector is zero."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    found: np.ndarray = (one * other).sum(axis=-1) / np.where(lengths > 0, lengths, 1.0)
    return found
