"""Errors of a model that was loaded but cannot compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from prosafeprune.errors import InputError, first_line


@contextmanager
def told_if_it_cannot_run(name: str, remedy: str) -> Iterator[None]:
    """Raise InputError for what a model's forward pass raises inside the context, but for want of memory.

    A setting of the config that no check covers fails only there, each with a different error.
    """
    try:
        yield
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(f"{name}: cannot run ({type(error).__name__}: {first_line(error)}). {remedy}") from error
