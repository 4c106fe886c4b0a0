"""The environment that torchrun gives the processes it starts."""

import os

from prosafeprune.errors import InputError

ALL_GPUS = "all"
"""The value of ``--device`` for all GPUs of a machine together."""


def process_count() -> int:
    """Return how many processes were started together; 1 without torchrun."""
    started = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}.issubset(os.environ)
    return int(os.environ["WORLD_SIZE"]) if started else 1


def local_rank() -> int | None:
    """Return this process's index on its machine; None without torchrun."""
    return int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) if process_count() > 1 else None


def require_one_process(what: str) -> None:
    """Raise InputError when torchrun started ``what``, which runs in a single process."""
    if process_count() > 1:
        raise InputError(f"{what} runs in a single process. Start it without torchrun.")
