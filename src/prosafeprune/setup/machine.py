"""What this machine has: memory, free disk, and how much of it a process took."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

import torch

MEMORY_FILE = Path("/proc/meminfo")
KIBIBYTE = 1024


def memory_bytes() -> tuple[int, int]:
    """Return the memory of the machine and how much of it is available, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = dict(line.split(":", 1) for line in MEMORY_FILE.read_text(encoding="ascii").splitlines())
        return total, KIBIBYTE * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        return total, total


def free_memory(device: torch.device) -> int:
    """Return the bytes that another process could take on a device."""
    if device.type != "cuda":
        return memory_bytes()[1]
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that ``folder`` is on, or will be."""
    return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free


def peak_memory(device: torch.device) -> int:
    """Return the most memory that this process has taken on a device so far, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else KIBIBYTE * peak
