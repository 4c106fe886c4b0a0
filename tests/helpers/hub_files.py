"""A stand-in for the part of the hub that files are read from: one model, whose folder is served by HTTP."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from helpers.local_http import LocalHttp

NAME, COMMIT = "org/tiny", "0" * 39 + "1"


class HubFiles(LocalHttp):
    """Serves ``org/tiny`` from a folder; ``sent`` counts the bytes of each file that were sent."""

    def __init__(self, folder: Path, *, in_parts: bool = True) -> None:
        self.folder, self.in_parts = folder, in_parts
        self.sent: Counter[str] = Counter()
        super().__init__(self._handler())

    def about(self, path: str) -> object:
        names = sorted(file.name for file in self.folder.iterdir())
        if "/tree/" in path:
            sizes = [(name, (self.folder / name).stat().st_size) for name in names]
            return [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in sizes]
        siblings = [{"rfilename": name} for name in names]
        return {"id": NAME, "sha": COMMIT, "private": False, "siblings": siblings, "tags": []}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(is_head=True)

            def do_GET(self) -> None:
                self._answer(is_head=False)

            def _answer(self, *, is_head: bool) -> None:
                path = urlsplit(self.path).path
                if path.startswith(f"/api/models/{NAME}"):
                    self._send(200, json.dumps(hub.about(path)).encode(), {})
                    return
                file = hub.folder / path.rpartition("/")[2]
                if not path.startswith(f"/{NAME}/resolve/") or not file.is_file():
                    self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
                    return
                size, asked = file.stat().st_size, self.headers.get("Range")
                named = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(file.name.encode()).hexdigest()}"'}
                if is_head:
                    self._send(200, b"", {**named, "Content-Length": str(size)})
                    return
                start, end = 0, size
                if asked is not None and hub.in_parts:
                    first, last = asked.removeprefix("bytes=").split("-")
                    start, end = int(first), min(int(last or size - 1) + 1, size)
                    named["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
                with file.open("rb") as stream:
                    stream.seek(start)
                    data = stream.read(end - start)
                hub.sent[file.name] += len(data)
                self._send(206 if "Content-Range" in named else 200, data, named)

            def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def hub_files(folder: Path, *, in_parts: bool = True) -> Iterator[HubFiles]:
    server = HubFiles(folder, in_parts=in_parts)
    try:
        yield server
    finally:
        server.close()
