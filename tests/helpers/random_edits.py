"""Shared by test_in_memory and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.model.anatomy import find_anatomy


def random_edits(model: Any, layers: Sequence[int], strength: float = 0.7) -> list[PruningEdit]:
    torch.manual_seed(1)
    edits = []
    for submodule in find_anatomy(model).submodules:
        if submodule.layer in layers:
            weight = submodule.weight()
            factors = [torch.linalg.qr(torch.randn(weight.shape[0], 3))[0] for _ in range(2)]
            measures = EditMeasures(
                submodule=submodule.name,
                kind=submodule.kind,
                layer=submodule.layer,
                stable_rank=1,
                energy_bound=1,
                energy=0,
                harmful_overlap=0,
            )
            edits.append(PruningEdit(submodule, OverlapOperator(*factors), strength, measures))
    return edits
