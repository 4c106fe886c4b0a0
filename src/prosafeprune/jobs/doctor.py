"""``doctor``: what this machine has, how fast it is, and what is missing."""

import importlib.util
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from prosafeprune.errors import first_line
from prosafeprune.files.cache import cache_folder
from prosafeprune.jobs.push import TOKENS
from prosafeprune.model.device_placement import ROOM, choose_device, device_name
from prosafeprune.model.loading import choose_dtype, dtype_name
from prosafeprune.progress import Reporter
from prosafeprune.report.grid import Grid
from prosafeprune.report.result_view import grid_html
from prosafeprune.report.run_record import library_versions
from prosafeprune.setup.machine import fastest_seconds, free_disk, memory_bytes
from prosafeprune.text import data_size

EXTRAS = {
    "gguf-check": ("xllamacpp", "comparing GGUF files, as they are read, with llama.cpp"),
    "playground": ("uvicorn", "playground and serve"),
    "quantised": ("bitsandbytes", "--load 8bit and 4bit, and models stored by bitsandbytes"),
    "ray": ("ray", "clusters (--ray)"),
}
"""Optional parts of the package: their module, and what they are for."""
HUB_SECONDS = 3
"""Until the hub counts as unreachable."""
WIDTH, ROWS = 2048, 512
"""Shape of the multiplied matrices: a layer of a 3 B model, and a batch of prompts."""
TRIED_SECONDS = 0.5
BYTES_PER_WEIGHT = 2
"""Bytes of a weight in half precision."""


class DeviceFacts(BaseModel):
    """A device that models can run on."""

    name: str
    memory: int
    """Bytes."""
    free: int
    """Bytes that are free."""
    speed: dict[str, float]
    """Floating-point operations per second in a matrix product, by dtype."""
    dtype: str
    """What a half-precision model runs in here."""
    largest_model: float
    """Number of weights that fit in the free memory in half precision, or in the dtype that runs here."""


class Diagnosis(BaseModel):
    """What ``doctor`` found."""

    versions: dict[str, str]
    system: str
    cores: int
    threads: int
    devices: list[DeviceFacts]
    """The fastest first."""
    cache: str
    cache_free: int
    """Bytes that are free on the disk of the cache."""
    hub: str
    """Empty if the hub is reachable, else why not."""
    has_token: bool
    """Whether the environment has a token of the hub."""
    missing_extras: list[str]

    def grids(self) -> Sequence[Grid]:
        """Return what was found as tables."""
        extras = [f"{name} (for {EXTRAS[name][1]}): pip install 'prosafeprune[{name}]'" for name in self.missing_extras]
        general = [
            ["versions", ", ".join(f"{name} {number}" for name, number in self.versions.items())],
            ["system", f"{self.system}, cores: {self.cores}, threads used: {self.threads}"],
            ["cache", f"{self.cache}, {data_size(self.cache_free)} free"],
            ["hub", self.hub or "reachable"],
            ["token of the hub", "in the environment" if self.has_token else f"none: set {TOKENS[0]} for gated models"],
            ["extras", "; ".join(extras) or "all installed"],
            ["quantised copies", "--load 8bit and 4bit" if "quantised" not in self.missing_extras else "none"],
        ]
        devices = [
            [
                device.name,
                f"{data_size(device.free)} of {data_size(device.memory)}",
                *(f"{device.speed[dtype] / 1e9:,.0f}" for dtype in ("bfloat16", "float32")),
                device.dtype,
                f"{device.largest_model / 1e9:.1f} B",
            ]
            for device in self.devices
        ]
        headings = [
            "device",
            "memory free",
            "bfloat16, GFLOP/s",
            "float32, GFLOP/s",
            "float16 runs in",
            "largest model",
        ]
        notes = [
            f"Speed: products of {WIDTH} x {WIDTH} matrices, {TRIED_SECONDS:g} s for each dtype. Largest model: by the "
            f"memory that is free now, of which weights may take {ROOM:.0%}. Larger ones: --memory low."
        ]
        return [Grid("This machine", ["", ""], general), Grid("Devices", headings, devices, notes)]

    def _repr_html_(self) -> str:
        return "".join(map(grid_html, self.grids()))


def run_doctor(reporter: Reporter) -> Diagnosis:
    """Look at this machine. Takes a few seconds."""
    devices = [torch.device("cpu")]
    if torch.backends.mps.is_available():
        devices.insert(0, torch.device("mps"))
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    devices = [*(torch.device("cuda", index) for index in gpus), *devices]
    with reporter.stage("Measuring speed", len(devices)) as advance:
        found = []
        for device in devices:
            found.append(_device_facts(device))
            advance(1)
    cache = cache_folder()
    return Diagnosis(
        versions=library_versions(),
        system=platform.platform(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        devices=found,
        cache=str(cache),
        cache_free=free_disk(Path(cache).absolute()),
        hub=_hub_problem(),
        has_token=any(os.environ.get(name) for name in TOKENS),
        missing_extras=[name for name, (module, _) in EXTRAS.items() if importlib.util.find_spec(module) is None],
    )


def _device_facts(device: torch.device) -> DeviceFacts:
    device = choose_device(str(device))
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:  # an Apple GPU shares the machine's memory
        total, free = memory_bytes()
    runs_in = choose_dtype("auto", torch.float16, device)
    return DeviceFacts(
        name=device_name(device),
        memory=total,
        free=free,
        speed={dtype_name(dtype): _speed(dtype, device) for dtype in (torch.bfloat16, torch.float32)},
        dtype=dtype_name(runs_in),
        largest_model=ROOM * free / max(BYTES_PER_WEIGHT, runs_in.itemsize),
    )


def _speed(dtype: torch.dtype, device: torch.device) -> float:
    weight = torch.ones(WIDTH, WIDTH, device=device, dtype=dtype)
    rows = torch.ones(ROWS, WIDTH, device=device, dtype=dtype)
    seconds = fastest_seconds(lambda: torch.nn.functional.linear(rows, weight), device, TRIED_SECONDS)
    return 2 * ROWS * WIDTH * WIDTH / seconds


def _hub_problem() -> str:
    """Return why the hub is unreachable; empty if it is not."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "not asked: HF_HUB_OFFLINE is set"
    try:
        answer: Any = get_session().get(f"{constants.ENDPOINT}/api/models?limit=1", timeout=HUB_SECONDS)
        answer.raise_for_status()
    except Exception as error:  # noqa: BLE001 - the client lets errors of several libraries through
        return f"unreachable: {first_line(error)}. Models and datasets must be local"
    return ""
