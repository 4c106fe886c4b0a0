"""Features that are computed by name, as the vector that a model was fitted to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def in_order(values: dict[str, float], names: Sequence[str]) -> NDArray[np.float32]:
    """Return one number for each of ``names``, 0 for those without a value.

    Raises:
        KeyError: a value has a name that is not among them.
    """
    ordered = dict.fromkeys(names, 0.0) | values
    if len(ordered) > len(names):
        raise KeyError(f"not a feature: {', '.join(sorted(values.keys() - set(names)))}")
    return np.array(list(ordered.values()), dtype=np.float32)
