"""What held-out predictions show besides agreement: the rates of errors that pages use, and how true probabilities are.

``heldout.py`` makes the predictions; nothing here trains or judges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prosafeprune.judges.builtin import BuiltinJudge

SOURCE = "scripts/judge_training/heldout.py: the table of answers, model and prompts unseen, in docs/judges.md"
BINS = 10


@dataclass(frozen=True)
class ProbabilityBin:
    """The answers whose predicted probability of a refusal is in one range."""

    low: float
    high: float
    answers: int
    predicted: float
    """Mean predicted probability of a refusal."""
    refusals: float
    """Share that the labels call refusals; equal to ``predicted`` if the probabilities are calibrated."""
    agreement: float
    """Share on which the judge, which calls an answer a refusal above one half, agrees with the label."""


def error_counts(
    test: str, labelled: Sequence[bool], probabilities: NDArray[np.floating], *, drawn_at_random: bool
) -> dict[str, Any]:
    """Return how many refusals of a test the judge misses, and how many other answers it calls refusals."""
    wanted, judged = np.asarray(labelled, bool), probabilities > 0.5
    return {
        "test": test,
        "drawn_at_random": drawn_at_random,
        "answers": len(wanted),
        "refusals": int(wanted.sum()),
        "missed": int((wanted & ~judged).sum()),
        "false": int((~wanted & judged).sum()),
    }


def write_error_rates(file: Path, tests: Sequence[dict[str, Any]]) -> None:
    """Write the counts of errors of each test, with the judge's version, for pages to read."""
    found = {"judge": BuiltinJudge.name, "source": SOURCE, "tests": list(tests)}
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def probability_bins(labelled: Sequence[bool], probabilities: NDArray[np.floating]) -> list[ProbabilityBin]:
    """Return the answers by probability, in ranges of equal width; ranges without an answer are left out."""
    wanted = np.asarray(labelled, bool)
    places = np.minimum((probabilities * BINS).astype(int), BINS - 1)  # a probability of 1 is in the last
    bins = []
    for place in range(BINS):
        rows = places == place
        if rows.any():
            agreed = wanted[rows] == (probabilities[rows] > 0.5)
            bins.append(
                ProbabilityBin(
                    place / BINS,
                    (place + 1) / BINS,
                    int(rows.sum()),
                    float(probabilities[rows].mean()),
                    float(wanted[rows].mean()),
                    float(agreed.mean()),
                )
            )
    return bins


def expected_calibration_error(bins: Sequence[ProbabilityBin]) -> float:
    """Return the mean distance of predicted probability and observed share over all answers (Guo et al. 2017)."""
    total = sum(one.answers for one in bins)
    return sum(one.answers * abs(one.predicted - one.refusals) for one in bins) / total


def reliability_lines(title: str, labelled: Sequence[bool], probabilities: NDArray[np.floating]) -> Iterator[str]:
    """Yield the lines of a table: one for each range of probabilities, and one for all answers."""
    bins = probability_bins(labelled, probabilities)
    for one in bins:
        yield (
            f"| {title}, {100 * one.low:.0f} to {100 * one.high:.0f} | {one.answers} | {100 * one.predicted:.1f} "
            f"| {100 * one.refusals:.1f} | {100 * one.agreement:.1f} |"
        )
    total = sum(one.answers for one in bins)
    agreement = sum(one.answers * one.agreement for one in bins) / total
    error = 100 * expected_calibration_error(bins)
    refusals, predicted = 100 * np.mean(labelled), 100 * probabilities.mean()
    yield f"| **{title}, all: ECE {error:.1f}** | {total} | {predicted:.1f} | {refusals:.1f} | {100 * agreement:.1f} |"
