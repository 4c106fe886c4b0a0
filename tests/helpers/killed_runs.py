"""A run in a process of its own, killed at a chosen point."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

RUN = """
import sys
import prosafeprune, {module} as job
def stop(*_):
    print("reached", flush=True)
    sys.stdin.read()
job.{function} = stop
prosafeprune.{command}(*{arguments!r}, progress=False, **{settings!r})
"""


def kill_at(stop: str, command: str, *arguments: str, **settings: object) -> None:
    """Run a command of the Python API, and kill it where it calls the function ``stop`` (``module.function``)."""
    module, _, function = stop.rpartition(".")
    code = RUN.format(module=module, function=function, command=command, arguments=arguments, settings=settings)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"reached\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
