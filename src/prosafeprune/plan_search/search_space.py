"""The plans that a search draws from: windows of consecutive layers in the middle of the model, edited alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from optuna import Trial

from prosafeprune.method.plan import LARGEST_STRENGTH, Plan, Pooling, Projection

STARTS = 18
"""Layers that windows may start at; in deeper models every second or third layer is one."""
LONGEST = 0.56
"""Longest window, as a share of the searched layers: ten of 18."""
FIRST_WINDOWS, FIRST_LENGTH = 3, 1 / 3
"""How many windows are scored first, evenly spread, and their length as a share of the searched layers."""
STRENGTHS = (0.4, 0.6, 0.8, 1.0)
STRONGER = (1.5, 2.0)
"""Strengths for fitted projections besides :data:`STRENGTHS`, in the order to try."""
SEARCHED_SHARES = (-0.25, -0.35, -0.45, -0.15, -0.6, 0.0)
"""Harmful shares of the contrastive projection, the most promising first. The lower, the more refusals are added to
harmful prompts, and to harmless ones that look like them."""
WINDOW_LENGTHS = (1, 2, 4, 8)
"""Lengths of the windows that ``--strategy paper`` measures."""


def searched_layers(num_layers: int) -> tuple[int, ...]:
    """Return the layers that plans may prune: all but the first quarter and the last eighth, and not the first layer.

    Table 10 finds the bottom and the top of a model useless; the last token enters the first layer the same in every
    prompt.
    """
    return tuple(range(max(num_layers // 4, min(1, num_layers - 1)), num_layers - num_layers // 8))


@dataclass(frozen=True)
class SearchSpace:
    """The parts that plans are drawn from."""

    layers: Sequence[int]
    """Consecutive layers that plans may prune."""
    poolings: Sequence[Pooling]
    """Poolings that are tried, the most promising first."""
    rank: int
    projection: Projection
    harmful_shares: Sequence[float | None] = (None,)
    """Harmful shares of the contrastive projection, the most promising first; None: its default."""

    @property
    def step(self) -> int:
        """Layers between two starts of windows, and between two lengths."""
        return max(1, math.ceil(len(self.layers) / STARTS))

    @property
    def starts(self) -> list[int]:
        """Layers that windows may start at."""
        return list(self.layers[:: self.step])

    @property
    def longest(self) -> int:
        """Length of the longest window, in steps."""
        return max(1, round(LONGEST * len(self.layers) / self.step))

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths of plans, ascending: those that the projection takes."""
        return tuple(one for one in (*STRENGTHS, *STRONGER) if one <= LARGEST_STRENGTH[self.projection])

    def plan_at(self, point: Mapping[str, Any]) -> Plan:
        """Return the plan of a trial."""
        first = point["start"] * self.step
        return Plan(
            layers=tuple(self.layers[first : first + point["length"] * self.step]),
            pooling=Pooling(point["pooling"]),
            rank=self.rank,
            strength=point["strength"],
            projection=self.projection,
            harmful_share=point["harmful_share"],
        )


def starting_points(space: SearchSpace) -> list[dict[str, Any]]:
    """Return the trials to run first: the first windows, at full strength, with the first pooling and share."""
    return [_point(space, space.poolings[0], window) for window in _first_windows(space)]


def variations(space: SearchSpace, best: Mapping[Plan, bool]) -> list[dict[str, Any]]:
    """Return the trials to run next: each other pooling, then each other share, with the windows of first trials.

    Several windows, as the first scores do not separate neighbouring windows, and they lose S.S. at different shares.

    Args:
        space: what plans are drawn from.
        best: the plans of the first trials whose windows are tried with each value, the best first; and whether
            their S.S. leaves room above the floor. Then the shares that add fewer refusals are tried first.
    """
    first, *others = space.poolings
    by_plan = {space.plan_at(_point(space, first, window)): window for window in _first_windows(space)}
    windows = [by_plan[plan] for plan in best]
    points = [_point(space, pooling, window) for pooling in others for window in windows]
    orders = [_share_order(space.harmful_shares, room) for room in best.values()]
    for shares in zip(*orders, strict=True):
        points += [_point(space, first, window, share) for window, share in zip(windows, shares, strict=True)]
    return points


def stronger(space: SearchSpace, plan: Plan, room: bool) -> list[dict[str, Any]]:
    """Return the trials of a plan at strengths above 1, as far as its projection takes them.

    Args:
        space: what plans are drawn from.
        plan: the best one so far.
        room: whether its S.S. leaves room above the floor. Then the largest strength is tried with the next share that
            adds fewer refusals, too, since a stronger edit adds more of them.
    """
    window = space.starts.index(plan.layers[0]), math.ceil(len(plan.layers) / space.step)
    share = space.harmful_shares.index(plan.harmful_share)
    point = _point(space, plan.pooling, window, share)
    points = [{**point, "strength": strength} for strength in STRONGER if strength in space.strengths]
    weaker = [other for other in space.harmful_shares if other is not None and other > (plan.harmful_share or 0.0)]
    if points and weaker and room:
        points.append({**points[-1], "harmful_share": min(weaker)})
    return points


def _share_order(shares: Sequence[float | None], room: bool) -> list[int]:
    """Return the indices of the shares after the first in the order to try: as given, or those above it first."""
    others = range(1, len(shares))
    if not room or shares[0] is None:
        return list(others)
    distances = {index: (shares[index] or 0.0) - shares[0] for index in others}
    return sorted(others, key=lambda index: (distances[index] < 0, abs(distances[index])))


def _first_windows(space: SearchSpace) -> list[tuple[int, int]]:
    """Return where the first windows start and how long they are, in steps, evenly spread over the layers."""
    count = math.ceil(len(space.layers) / space.step)
    length = max(1, min(space.longest, round(FIRST_LENGTH * count)))
    offsets = {round((count - length) * (index + 1) / (FIRST_WINDOWS + 1)) for index in range(FIRST_WINDOWS)}
    return [(offset, length) for offset in sorted(offsets)]


def _point(space: SearchSpace, pooling: Pooling, window: tuple[int, int], share: int = 0) -> dict[str, Any]:
    return {
        "pooling": pooling.value,
        "start": window[0],
        "length": window[1],
        "strength": STRENGTHS[-1],
        "harmful_share": space.harmful_shares[share],
    }


def draw_plan(trial: Trial, space: SearchSpace) -> Plan:
    """Draw a plan: a window of layers, and the strength, pooling and harmful share of all of them."""
    drawn = {
        "start": trial.suggest_int("start", 0, len(space.starts) - 1),
        "length": trial.suggest_int("length", 1, space.longest),
        "pooling": trial.suggest_categorical("pooling", [pooling.value for pooling in space.poolings]),
        "strength": trial.suggest_categorical("strength", list(space.strengths)),
        "harmful_share": trial.suggest_categorical("harmful_share", list(space.harmful_shares)),
    }
    return space.plan_at(drawn)


def paper_windows(
    candidates: Sequence[int],
    peak: int,
    pooling: Pooling,
    rank: int,
    projection: Projection,
    strength: float,
    harmful_share: float | None = None,
) -> list[Plan]:
    """Return the windows of consecutive candidates that ``--strategy paper`` measures, the most promising first.

    Table 5's windows hold from one to ten layers. Section 3.3 does not say which were tried; here, those of 1, 2, 4 and
    8 layers alternately, each length from the peak of the silhouette outwards.
    """
    by_length = []
    for length in WINDOW_LENGTHS:
        starts = range(len(candidates) - length + 1)
        windows = [tuple(candidates[start : start + length]) for start in starts]
        by_length.append(sorted(windows, key=lambda layers: abs(sum(layers) / len(layers) - peak)))
    made = partial(
        Plan, rank=rank, strength=strength, pooling=pooling, projection=projection, harmful_share=harmful_share
    )
    return [made(layers=layers) for turn in zip_longest(*by_length) for layers in turn if layers is not None]
