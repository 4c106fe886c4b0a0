"""How well the prompt classes separate in a layer, and the candidate layers that follow from it (section 3.3).

Only ``--strategy paper`` selects layers by this; the search otherwise takes all middle layers.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import silhouette_score

MIN_CANDIDATES, MAX_CANDIDATES = 5, 10
"""Number of candidate layers: 5 to 10, "based on model size" (section 3.3)."""
LAYERS_PER_CANDIDATE = 3
"""A model of 30 layers or more has 10 candidates, one of 17 or fewer has 5. A third of the depth, so that windows of
eight layers fit into the candidates of a model of 24; Table 5 has windows of up to ten."""


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean silhouette (Eq. 4) of points ``(n, d)`` with class ``labels (n,)``.

    With ``a(i)`` the mean Euclidean distance of a point to the others of its class and ``b(i)`` the smallest mean
    distance to another class, ``s(i) = (b(i) - a(i)) / max(a(i), b(i))``: 1 for classes far apart, 0 for classes that
    overlap completely.
    """
    # Centring keeps precision for points far from the origin; distances do not change.
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    return float(silhouette_score(centred, labels))


def candidate_count(num_layers: int) -> int:
    """Return the number of candidate layers: a third of the depth, 5 to 10."""
    return min(num_layers, max(MIN_CANDIDATES, min(MAX_CANDIDATES, num_layers // LAYERS_PER_CANDIDATE)))


def candidate_layers(by_layer: Mapping[int, float], num_layers: int) -> tuple[int, ...]:
    """Return the candidate layers, in order: a window around the layer with the highest silhouette (section 3.3).

    Args:
        by_layer: the silhouette of each layer.
        num_layers: the model's number of layers.
    """
    peak = max(by_layer, key=lambda layer: (by_layer[layer], -layer))
    count = candidate_count(num_layers)
    first = max(0, min(peak - count // 2, num_layers - count))
    return tuple(range(first, first + count))
