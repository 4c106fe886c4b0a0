"""A server of a model on this machine, started for a measurement and stopped after it."""

import http.client
import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.generation.credentials import excerpt
from prosafeprune.model.model_hash import file_hash
from prosafeprune.progress import Reporter

VLLM = "vllm serve {model} --port {port}"
"""The command that ``vllm`` stands for."""
START_SECONDS = 1800.0
"""Time that a server has to start: a large model takes minutes to load."""
POLL_SECONDS = 0.5
STOP_SECONDS = 30.0
STOP_POLL_SECONDS = 0.05


def read_command(command: str) -> str:
    """Return a server's command in full.

    Raises:
        InputError: it does not say where model and port go, or cannot be split into words.
    """
    full = VLLM if command == "vllm" else command
    try:
        shlex.split(full)
    except ValueError as error:
        reason = first_line(error).lower()
        raise InputError(f"--serve-with: is not a command ({reason}). Quote its words as for a shell.") from error
    if "{model}" not in full or "{port}" not in full:
        raise InputError(
            f"--serve-with: must be a command that says where model and port go, such as '{VLLM}', or vllm for short."
        )
    return full


def server_identity(command: str) -> dict[str, Any]:
    """Return what a server's answers depend on besides the model: its command, the files in it, and vLLM's version."""
    words = shlex.split(command)
    files = {word: found for word in words if (found := shutil.which(word) or word) and Path(found).is_file()}
    versions = {"vllm": version("vllm")} if importlib.util.find_spec("vllm") is not None else {}
    return {"command": command, "files": {word: file_hash(Path(file)) for word, file in files.items()}, **versions}


@contextmanager
def serving(command: str, model: Path, reporter: Reporter) -> Iterator[str]:
    """Run a command that serves a model's folder; give the server's URL once it answers, and stop it in the end.

    No shell reads the command: only its words ``{model}`` and ``{port}`` are replaced.

    Args:
        command: what :func:`read_command` returned.

    Raises:
        InputError: the program does not exist, ends, or does not answer in time.
    """
    port = _free_port()
    words = [word.replace("{model}", str(model)).replace("{port}", str(port)) for word in shlex.split(command)]
    with tempfile.TemporaryFile() as log:
        try:
            # A separate session, so that all its processes can be stopped.
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise InputError(f"--serve-with: {words[0]} cannot be run ({error.strerror}). Install it.") from error
        try:
            with reporter.stage("Starting the server", 1) as advance:
                _wait(process, f"http://127.0.0.1:{port}/v1", log)
                advance(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise InputError(
                f"--serve-with: the server ended with exit code {process.returncode}. Correct the command. Its last "
                f"line: {_last_line(log)}"
            )
        if _answers(url):
            return
        time.sleep(POLL_SECONDS)
    raise InputError(f"--serve-with: the server did not answer in {START_SECONDS / 60:.0f} minutes: {_last_line(log)}")


def _answers(url: str) -> bool:
    """Return whether a server on this machine is ready; one that wants a key, or lists no models, is."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's port
    try:
        with direct.open(f"{url}/models", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code < HTTPStatus.INTERNAL_SERVER_ERROR  # these are sent while a model is loaded
    except (OSError, http.client.HTTPException):
        return False


def _last_line(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4000))
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return excerpt(lines[-1]) if lines else "none."


def _stop(process: subprocess.Popen[Any]) -> None:
    """Stop a server with all its processes: one that goes on would keep the memory that the next server needs."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, how)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None and not _has_processes(process.pid):
                return
            time.sleep(STOP_POLL_SECONDS)


def _has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):  # the latter of macOS, where all have ended
        return False
    return True
