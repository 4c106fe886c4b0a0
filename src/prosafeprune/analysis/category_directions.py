"""Directions of prompt categories: their cosines, and the cosine that noise allows (5.3).

A category's direction is the mean of its pseudo-harmful prompts minus that of the benign prompts, in the residual
stream at the last prompt token.
"""

from collections.abc import Sequence

import numpy as np

HALVINGS = 20
"""Random halvings of a category."""
LEAST_SIGNAL = 1e-3
"""The least cosine of two halves; a smaller one is not distinguishable from 0 with so few prompts."""


def direction_cosines(points: np.ndarray, benign: np.ndarray, members: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the cosines of the categories' directions in one layer.

    Args:
        points: states of the pseudo-harmful prompts ``(n, d)``.
        benign: mean state of the benign prompts ``(d,)``.
        members: the rows of each category.

    Returns:
        Cosines with the ``mean`` direction ``(categories,)``, with the mean of the ``others`` ``(categories,)``, of
        ``pairs`` of categories ``(categories, categories)``, and between random ``halves`` of a category
        ``(categories,)``.
    """
    directions = np.stack([points[rows].mean(axis=0) - benign for rows in members])
    others = (directions.sum(axis=0) - directions) / (len(members) - 1)
    return {
        "mean": _cosine(directions, directions.mean(axis=0)[None]),
        "others": _cosine(directions, others),
        "pairs": _cosine(directions[:, None], directions[None]),
        "halves": np.array([_cosine_of_halves(points[rows] - benign) for rows in members]),
    }


def noise_ceiling(halves: np.ndarray) -> np.ndarray:
    """Return the expected cosine of a category with the mean of the others if all shared one direction.

    With ``h`` the cosine of a category's halves, the share of signal in its squared direction is ``2 h / (1 + h)``
    (the Spearman-Brown formula). The mean of the others has the same signal and the mean of their noise. The cosine is
    the root of the product of both shares.

    Args:
        halves: the cosine of each category's halves ``(..., categories)``.
    """
    signal = np.clip(halves, LEAST_SIGNAL, None)
    share = 2 * signal / (1 + signal)
    noise = 1 / share - 1  # of one direction, in units of the signal
    others = halves.shape[-1] - 1
    noise_of_others = (noise.sum(axis=-1, keepdims=True) - noise) / others**2
    ceiling: np.ndarray = np.sqrt(share / (1 + noise_of_others))
    return ceiling


def _cosine_of_halves(differences: np.ndarray) -> float:
    """Return the mean cosine between the directions of two random halves of a category's prompts ``(n, d)``."""
    random = np.random.default_rng(0)
    cosines = []
    for _ in range(HALVINGS):
        order = random.permutation(len(differences))
        halves = [differences[order[start::2]].mean(axis=0) for start in (0, 1)]
        cosines.append(float(_cosine(*halves)))
    return float(np.mean(cosines))


def _cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosines along the last axis; 0 for a zero vector."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosines: np.ndarray = (one * other).sum(axis=-1) / np.where(lengths > 0, lengths, 1.0)
    return cosines
