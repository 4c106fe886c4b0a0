"""Chat templates rendered in a separate process, with limits on time, memory and length.

A template is a program that comes with the model. transformers' sandbox keeps it from Python's internals, but not from
loops that never end or strings that fill the memory. The process has no secrets in its environment, renders one request
at a time, and is killed when a request takes too long.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

SECONDS = 20.0
START_SECONDS = 120.0
MEMORY_BYTES = 2**30
MAX_CHARACTERS = 100_000
"""Maximum characters of a rendered chat, beyond the characters of its messages."""
INHERITED = ("PATH", "HOME", "SYSTEMROOT", "TMPDIR", "LANG")
READY = b"R"


class TemplateError(Exception):
    """A template raised an error."""


class TemplateLimitError(TemplateError):
    """A template took too long, too much memory, or wrote too much."""


class TemplateProcess:
    """Renders templates in another process, which starts at the first request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def render(self, template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
        """Return the chat that a template makes of messages.

        Raises:
            TemplateError: the template raised an error.
            TemplateLimitError: it exceeded a limit.
        """
        request = json.dumps([template, list(messages), dict(variables)], default=str).encode()
        with self._lock:
            try:
                kind, text = self._reply(request)
            except (OSError, EOFError, ValueError):
                # The system may have ended it, for want of memory: not the template's fault.
                try:
                    kind, text = self._reply(request)
                except (OSError, EOFError, ValueError) as error:
                    raise TemplateLimitError("the process that renders it ended") from error
        if kind != "text":
            raise (TemplateLimitError if kind == "limit" else TemplateError)(text)
        return str(text)

    def _reply(self, request: bytes) -> tuple[str, str]:
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None and self._process.stdin is not None
            _write(self._process.stdin, request)
            kind, text = json.loads(self._read(time.monotonic() + SECONDS))
        except BaseException:  # interrupted: the reply would be taken for that of the next request
            self.stop()
            raise
        return kind, text

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def _start(self) -> None:
        self.stop()
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        if self._take(1, time.monotonic() + START_SECONDS) != READY:
            raise EOFError

    def _read(self, deadline: float) -> bytes:
        return self._take(int.from_bytes(self._take(8, deadline), "little"), deadline)

    def _take(self, count: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe, found = self._process.stdout, bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(found) < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.stop()
                    raise TemplateLimitError(f"it takes longer than {SECONDS:.0f} seconds")
                piece = os.read(pipe.fileno(), count - len(found))
                if not piece:
                    raise EOFError
                found += piece
        return bytes(found)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Render what comes in on one pipe into the other until the first is closed."""
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit_memory()
    replies.write(READY)
    replies.flush()
    while size := requests.read(8):
        template, messages, variables = json.loads(requests.read(int.from_bytes(size, "little")))
        reply = _reply(render_jinja_template, template, messages, variables)
        _write(replies, json.dumps(reply).encode())


def _reply(render: Any, template: str, messages: list[dict[str, Any]], variables: dict[str, Any]) -> tuple[str, str]:
    try:
        text = str(render([messages], chat_template=template, **variables)[0][0])
    except MemoryError:
        return "limit", "it takes too much memory"
    except RecursionError:
        return "limit", "it calls itself without end"
    except Exception as error:  # noqa: BLE001 - a template is a program, and may raise anything
        lines = str(error).strip().splitlines()
        return "error", lines[0][:200] if lines else type(error).__name__
    if len(text) > MAX_CHARACTERS + len(json.dumps(messages)):
        return "limit", "it writes too much"
    return "text", text


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass  # the time limit remains


def _write(pipe: Any, content: bytes) -> None:
    pipe.write(len(content).to_bytes(8, "little") + content)
    pipe.flush()


shared = TemplateProcess()
"""The process of this process's templates."""
atexit.register(shared.stop)

if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
