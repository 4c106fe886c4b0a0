"""Plans that a model cannot be pruned by are refused before anything is measured."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_models import make_model

from prosafeprune.errors import InputError
from prosafeprune.method.plan import Plan
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.setup.load import require_layers


def test_a_layer_of_zeros_alone_cannot_be_pruned() -> None:
    model = make_model("llama")
    require_layers(Plan(layers=(0, 1), rank=2), find_anatomy(model))
    with torch.no_grad():
        for submodule in find_anatomy(model).of_layer(1):
            submodule.put(submodule.stored, torch.zeros(submodule.shape))
    anatomy = find_anatomy(model)
    require_layers(Plan(layers=(0, 2), rank=2), anatomy)
    with pytest.raises(InputError, match=r"--layers 1: every matrix of this layer is all zeros"):
        require_layers(Plan(layers=(0, 1), rank=2), anatomy)
