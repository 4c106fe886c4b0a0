"""How fast this machine runs a model, measured in a second with matrices of the model's size."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from prosafeprune.generation.local import ROWS_ON_CPU
from prosafeprune.setup.workload import Speed

ROWS_READ = 1024
"""Tokens of a batch of prompts."""
LARGEST = 4096
"""Largest width of the matrices; beyond it the speed does not change."""
OVERHEAD = 1.6
"""Assumed time of a forward pass over that of its matrix products: attention, norms, and the loop around them."""
TRIED_SECONDS = 0.15


def measure_speed(parameters: float, hidden: int | None, dtype: torch.dtype, device: torch.device) -> Speed:
    """Return the speed of a model with this many parameters; a token takes two operations for each.

    Args:
        parameters: number of weights.
        hidden: width of its hidden states, if known.
        dtype: the dtype it runs in.
        device: where it runs.
    """
    width = min(hidden or LARGEST, LARGEST)
    weight = torch.randn(4 * width, width, device=device).to(dtype)
    per_token = OVERHEAD * parameters / weight.numel()

    def rate(rows: int) -> float:
        tokens = torch.randn(rows, width, device=device).to(dtype)
        return rows / (per_token * fastest_seconds(lambda: torch.nn.functional.linear(tokens, weight), device))

    return Speed(rate(ROWS_READ), rate(ROWS_ON_CPU))


def fastest_seconds(work: Callable[[], object], device: torch.device, tried: float = TRIED_SECONDS) -> float:
    """Return how long some work takes, the fastest of several times within ``tried`` seconds."""
    best, until = float("inf"), time.perf_counter() + tried
    while True:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        best = min(best, now - started)
        if now >= until:
            return best
