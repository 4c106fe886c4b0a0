"""The effect of the rank: the overlap of the classes' subspaces, and the result of a plan at several ranks (D.1)."""

from collections.abc import Iterator

import numpy as np
import torch

from prosafeprune.analysis.aggregates import layer_means, submodule_labels
from prosafeprune.analysis.analysis_prompts import AnalysisPrompts
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.context import Context, Pooled
from prosafeprune.analysis.plan_lookup import find_plan
from prosafeprune.analysis.result import AnalysisResult, LineFigure, Observation, ResultTable, make_table
from prosafeprune.analysis.sweep_analyses import RankRatesAnalysis
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.method.subspaces import independent_directions, subspace_overlap
from prosafeprune.model.submodule import Submodule
from prosafeprune.prompts import PromptClass
from prosafeprune.requests.analyze import AnalyzeRequest

SECONDS_PER_SUBMODULE = 0.2
RANKS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 64)
PAPER_PAIR = "harmful, pseudo-harmful"
PAIRS = {
    PAPER_PAIR: (PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL),
    "harmful, benign": (PromptClass.HARMFUL, PromptClass.BENIGN),
    "pseudo-harmful, benign": (PromptClass.PSEUDO_HARMFUL, PromptClass.BENIGN),
}
CHANCE = "two random subspaces"
TOLERANCE = 0.01
"""Overlaps closer than this are reported as equal."""


class RankAnalysis(Analysis):
    """The mean cosine of the principal angles between the classes' subspaces at many ranks (figure 9).

    With a plan, C.R., S.S. and T.S. at several ranks too (figure 10).
    """

    settings = RankRatesAnalysis.settings
    compares = False

    def __init__(self) -> None:
        self.rates = RankRatesAnalysis()

    def splits(self, request: AnalyzeRequest) -> tuple[str, ...]:
        """Return the splits for the subspaces and, with a plan, for its rates."""
        return self.rates.splits(request) if find_plan(request) is not None else ("calibration",)

    def judges_answers(self, request: AnalyzeRequest) -> bool:
        """Return whether there is a plan, whose rates are by a judge."""
        return find_plan(request) is not None

    def check(self, request: AnalyzeRequest, prompts: AnalysisPrompts) -> None:
        """Raise InputError when a plan cannot be measured at the requested ranks."""
        if find_plan(request) is not None:
            self.rates.check(request, prompts)

    def workload(self, context: Context) -> Workload:
        """One pass over the calibration prompts, three decompositions per submodule, and a plan's answers."""
        rates = self.rates.workload(context) if find_plan(context.request) is not None else Workload()
        decompositions = SECONDS_PER_SUBMODULE * len(context.anatomy.submodules)
        return context.pooled_workload("calibration") + rates + Workload(seconds=decompositions)

    def observe(self, context: Context, before: Observation | None) -> Observation:
        """Return the overlaps by submodule and rank and, with a plan, its outcomes by rank."""
        overlaps = observe_overlaps(context)
        return overlaps | self.rates.observe(context, None) if find_plan(context.request) is not None else overlaps

    def conclude(self, request: AnalyzeRequest, before: Observation, after: Observation | None) -> AnalysisResult:
        """Return the overlaps by rank, their minima, and the rates."""
        overlaps = overlap_result(before, request.rank)
        if find_plan(request) is None:
            return overlaps
        rates = self.rates.conclude(request, before, after)
        return AnalysisResult(
            tables=(*overlaps.tables, *rates.tables),
            figures=(*overlaps.figures, *rates.figures),
            summary=(*rates.summary, *overlaps.summary),
        )


def observe_overlaps(context: Context) -> Observation:
    """Return the overlap ``(submodules, ranks)`` for each pair of classes, NaN where a subspace is smaller."""
    pooled, submodules = context.pooled("calibration"), context.anatomy.submodules
    ranks = sorted({*RANKS, context.request.rank})
    rows: dict[str, list[list[float]]] = {name: [] for name in (*PAIRS, CHANCE)}
    with context.reporter.stage("Overlaps", len(submodules)) as advance, torch.inference_mode():
        for submodule in submodules:
            for name, overlaps in _overlaps(pooled, submodule, ranks):
                rows[name].append(overlaps)
            advance(1)
    overlaps_by_pair = {f"overlap {name}": np.array(values) for name, values in rows.items()}
    return {**submodule_labels(submodules), "ranks": np.array(ranks), **overlaps_by_pair}


def overlap_result(observation: Observation, rank: int) -> AnalysisResult:
    """Return the minimum of each overlap, the overlaps by rank, and those of each layer; ``rank`` is marked."""
    series = {name: observation[f"overlap {name}"] for name in (*PAIRS, CHANCE)}
    overlaps = make_table(
        "overlap",
        "Overlap(r): mean cosine of the principal angles; mean and middle 80 % of the submodules",
        ("subspaces", "rank", "overlap", "low", "high", "submodules"),
        (
            (name, int(r), float(defined.mean()), *map(float, np.quantile(defined, [0.1, 0.9])), len(defined))
            for name, values in series.items()
            for r, column in zip(observation["ranks"], values.T, strict=True)
            for defined in [column[~np.isnan(column)]]
            if len(defined)
        ),
    )
    layers = make_table(
        "layers",
        f"Overlap of the subspaces ({PAPER_PAIR}) by layer, mean over its submodules",
        ("layer", "rank", "overlap"),
        (
            (layer, int(r), None if np.isnan(value) else float(value))
            for layer, values in layer_means(observation, series[PAPER_PAIR])
            for r, value in zip(observation["ranks"], values, strict=True)
        ),
    )
    figure = LineFigure(
        name="overlap",
        title=f"Overlap of subspaces by rank; band: middle 80 % of the submodules, {PAPER_PAIR}",
        x="rank",
        y="overlap",
        by="subspaces",
        low="low",
        high="high",
        band_of=(PAPER_PAIR,),
        mark=rank,
        mark_label=f"requested rank, {rank}",
        x_label="rank r",
        y_label="mean cosine of principal angles (0 to 1)",
    )
    least = _least(overlaps, rank)
    summary = _summary(least, overlaps, rank)
    return AnalysisResult(tables=(least, overlaps, layers), figures=(figure,), summary=summary)


def _summary(least: ResultTable, overlaps: ResultTable, rank: int) -> tuple[str, ...]:
    by_pair = _by_pair(overlaps)
    minima = {name: min(by_rank.values()) for name, by_rank in by_pair.items()}
    of_paper = by_pair[PAPER_PAIR]
    near = [r for r, value in of_paper.items() if value - minima[PAPER_PAIR] < TOLERANCE]
    others = "; ".join(f"{name} {minimum:.2f}" for name, minimum in minima.items() if name != PAPER_PAIR)
    lowest = minima[PAPER_PAIR]
    first = f"The harmful and pseudo-harmful subspaces overlap least at rank {least.rows[0][1]}, {lowest:.2f}"
    first += f" (rank {rank}: {of_paper[rank]:.2f})" if rank in of_paper else ""
    first += f"; ranks {min(near)} to {max(near)} are within {TOLERANCE} of it." if len(near) > 1 else "."
    return (
        first,
        f"Minima of the other pairs: {others}. Near rank 1 the overlap is that of the mean activations, which all "
        "prompts share; near the number of prompts it must rise.",
    )


def _least(overlaps: ResultTable, rank: int) -> ResultTable:
    """Return the rank at which each pair of subspaces overlaps least."""
    return make_table(
        "least",
        "The rank of least overlap, mean over submodules",
        ("subspaces", "least_at_rank", "overlap_there", f"overlap_at_rank_{rank}"),
        (
            (name, least, by_rank[least], by_rank.get(rank))
            for name, by_rank in _by_pair(overlaps).items()
            for least in [min(by_rank, key=by_rank.__getitem__)]
        ),
    )


def _by_pair(overlaps: ResultTable) -> dict[str, dict[int, float]]:
    """Return the overlap by rank for each pair of subspaces."""
    by_pair: dict[str, dict[int, float]] = {}
    for name, rank, overlap, *_ in overlaps.rows:
        by_pair.setdefault(str(name), {})[int(str(rank))] = float(str(overlap))
    return by_pair


def _overlaps(pooled: Pooled, submodule: Submodule, ranks: list[int]) -> Iterator[tuple[str, list[float]]]:
    """Yield the overlap at each rank for each pair of classes, and for random subspaces."""
    directions = {
        name: independent_directions(torch.from_numpy(pooled.activations(submodule, name)).T) for name in PromptClass
    }
    width = directions[PromptClass.HARMFUL].shape[0]
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, width, min(width, ranks[-1]), generator=generator, dtype=torch.float64)
    random = torch.linalg.qr(draws)[0]
    for name, (first, second) in PAIRS.items():
        yield name, [_overlap(directions[first], directions[second], rank) for rank in ranks]
    widest = min(basis.shape[1] for basis in directions.values())
    yield CHANCE, [_overlap(random[0, :, :widest], random[1, :, :widest], rank) for rank in ranks]


def _overlap(one: torch.Tensor, other: torch.Tensor, rank: int) -> float:
    if rank > min(one.shape[1], other.shape[1]):
        return float("nan")
    return subspace_overlap(one[:, :rank], other[:, :rank])
