"""What the tests of estimates share: the tensors of a small model, and a run that is only prepared."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import PreparedRun, prepare_run

CONFIG = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16}
TENSORS = {
    "model.embed_tokens.weight": ((100, 8), 1600),
    "model.layers.0.self_attn.q_proj.weight": ((8, 8), 128),
    "model.layers.1.self_attn.q_proj.weight": ((8, 8), 128),
    "model.layers.1.mlp.up_proj.weight": ((16, 8), 256),
}


def prepared_run(model: Path, **settings: object) -> PreparedRun:
    """Return the prepared run of a pruning with these settings."""
    return prepare_run(make_recipe(model=str(model), **settings), None, False, SilentReporter())
