"""Boosted trees as arrays, evaluated with numpy for many answers and all trees at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS = ("feature", "threshold", "left", "right", "value", "root", "baseline")


@dataclass(frozen=True)
class BoostedTrees:
    """Trees whose outputs are summed to one logit per class. A leaf is its own child."""

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    root: NDArray[np.int32]
    """The node at which each tree begins, (trees, classes)."""
    baseline: NDArray[np.float32]
    """The logits before any tree, (classes,)."""

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits, (rows, classes), for features (rows, features)."""
        node = np.tile(self.root.reshape(1, -1), (len(rows), 1))
        begins = np.arange(len(rows))[:, None] * rows.shape[1]
        while True:
            goes_left = rows.take(begins + self.feature.take(node)) <= self.threshold.take(node)
            following = self._children.take(2 * node + goes_left)
            if np.array_equal(following, node):
                break
            node = following
        result: NDArray[np.float32] = self.value[node].reshape(len(rows), *self.root.shape).sum(axis=1) + self.baseline
        return result

    @cached_property
    def _children(self) -> NDArray[np.int32]:
        """Return the right and the left child of each node in turn, so that one look-up finds either."""
        return np.column_stack([self.right, self.left]).ravel()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BoostedTrees:
        """Return the trees that :data:`FIELDS` describe."""
        return cls(**{name: arrays[name] for name in FIELDS})
