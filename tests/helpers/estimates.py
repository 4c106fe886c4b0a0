"""What the tests of estimates share: the tensors of a small model, and a job that is not run."""

from __future__ import annotations

from pathlib import Path

from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import Job, prepare_job

CONFIG = {"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16}
TENSORS = {
    "model.embed_tokens.weight": ((100, 8), 1600),
    "model.layers.0.self_attn.q_proj.weight": ((8, 8), 128),
    "model.layers.1.self_attn.q_proj.weight": ((8, 8), 128),
    "model.layers.1.mlp.up_proj.weight": ((16, 8), 256),
}


def job(model: Path, **settings: object) -> Job:
    """Return the job of a pruning with these settings."""
    return prepare_job(make_recipe(model=str(model), **settings), None, False, SilentReporter())
