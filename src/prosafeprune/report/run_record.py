"""How the models of a record ran: device, dtype, batch sizes and library versions."""

import platform
from collections.abc import Sequence

import torch
from pydantic import BaseModel

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.files.versions import installed_version
from prosafeprune.model.loading import dtype_name
from prosafeprune.model.quantised_copy import Load

LIBRARIES = ("prosafeprune", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


class RunRecord(BaseModel):
    """How the model ran; in half precision, the last bits of results depend on it."""

    device: str
    threads: int
    processes: int = 1
    """Processes that shared the prompts; batch sizes are listed in process order."""
    dtype: str
    load: Load | None = None
    """What the linear layers of the copy that ran were quantised to; None: it ran as stored."""
    calibration_batch_sizes: tuple[int, ...]
    answer_batch_sizes: tuple[int, ...]
    shared_head_tokens: int
    """Length of the prompt prefix that all calibration prompts share; the name is that of version 0.1."""
    versions: dict[str, str]


def run_record(
    device: str,
    run_dtype: torch.dtype,
    inputs: PooledInputs,
    answer_batch_sizes: Sequence[int] = (),
    processes: int = 1,
    load: Load | None = None,
) -> RunRecord:
    """Return the description of how a model ran, in this process and others."""
    return RunRecord(
        device=device,
        threads=torch.get_num_threads(),
        processes=processes,
        dtype=dtype_name(run_dtype),
        load=load,
        calibration_batch_sizes=inputs.batch_sizes,
        answer_batch_sizes=tuple(answer_batch_sizes),
        shared_head_tokens=inputs.prefix_length,
        versions=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect results."""
    installed = {library: installed_version(library) or "not installed as a package" for library in LIBRARIES}
    return {"python": platform.python_version(), **installed}
