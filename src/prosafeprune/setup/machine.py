"""What this machine has: memory, free disk, the speed of its devices, and what a process took of it."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from prosafeprune.generation.local import ROWS_ON_CPU
from prosafeprune.model.device_placement import free_on_gpu
from prosafeprune.setup.workload import Speed

MEMORY_FILE = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where a container's memory limit is."""
LIMIT_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""In versions 2 and 1 of control groups: the limit, what is taken, and its parts with the one that can be reclaimed."""
KIBIBYTE = 1024
ROWS_READ = 1024
"""Tokens of a batch of prompts."""
LARGEST = 4096
"""Largest width of the matrices; beyond it the speed does not change."""
OVERHEAD = 1.6
"""Assumed time of a forward pass over that of its matrix products: attention, norms, and the loop around them."""
TRIED_SECONDS = 0.15


def memory_bytes() -> tuple[int, int]:
    """Return the memory of the machine, or of its container, and how much of it is available, in bytes."""
    total = available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, KeyError, ValueError):  # not Linux
        lines = dict(line.split(":", 1) for line in MEMORY_FILE.read_text(encoding="ascii").splitlines())
        available = KIBIBYTE * int(lines["MemAvailable"].split()[0])
    for names in LIMIT_FILES:
        with suppress(OSError, KeyError, ValueError):  # of the other version, or no limit: "max"
            limit, taken, parts = ((CONTROL_GROUP / name).read_text(encoding="ascii") for name in names[:3])
            reclaimable = int(dict(line.split() for line in parts.splitlines())[names[3]])
            available = min(available, max(0, int(limit) - int(taken) + reclaimable))
            total = min(total, int(limit))
    return total, available


def free_memory(device: torch.device) -> int:
    """Return the bytes that another process could take on a device."""
    return free_on_gpu(device) if device.type == "cuda" else memory_bytes()[1]


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that ``folder`` is on, or will be."""
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists())).free


def peak_memory(device: torch.device) -> int:
    """Return the most memory that this process has taken on a device so far, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else KIBIBYTE * peak


def measure_speed(passed: tuple[float, float], hidden: int | None, dtype: torch.dtype, device: torch.device) -> Speed:
    """Return the speed of a model; a token takes two operations for each weight that it passes through.

    Args:
        passed: the number of these weights for a token that is read, and for one that is generated.
        hidden: width of its hidden states, if known.
    """
    width = min(hidden or LARGEST, LARGEST)
    # Ones: random numbers would advance the state of the caller.
    weight = torch.ones(4 * width, width, device=device, dtype=dtype)

    def rate(rows: int, weights: float) -> float:
        tokens = torch.ones(rows, width, device=device, dtype=dtype)
        seconds = fastest_seconds(lambda: torch.nn.functional.linear(tokens, weight), device)
        return rows / (OVERHEAD * seconds * weights / weight.numel())

    return Speed(rate(ROWS_READ, passed[0]), rate(ROWS_ON_CPU, passed[1]))


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
