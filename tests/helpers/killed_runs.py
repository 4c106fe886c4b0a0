"""A run in a separate process, killed at a chosen point."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable

import torch

import prosafeprune


def kill_at(stop: str, command: str, *arguments: str, **settings: object) -> None:
    """Run a command of the Python API, and kill it where it calls the function ``stop`` (``module.function``).

    A fork needs no seconds for imports, and takes over what makes this process quick, such as small bundled sets.
    """
    in_killed_child(lambda: _run(stop, command, *arguments, **settings))


def in_killed_child(work: Callable[[], object]) -> None:
    """Do some work in a fork, which is killed by it."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # the threads of the process that was forked are not there
            work()
        finally:
            os._exit(1)  # whatever happens, the tests go on in one process only
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def killed(*_: object, **__: object) -> None:
    """Kill this process: nothing after it runs, no ``finally`` either."""
    os.kill(os.getpid(), signal.SIGKILL)


def _run(stop: str, command: str, *arguments: str, **settings: object) -> None:
    module, _, function = stop.rpartition(".")
    setattr(importlib.import_module(module), function, killed)
    getattr(prosafeprune, command)(*arguments, progress=False, **settings)
