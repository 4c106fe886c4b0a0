"""A stand-in for the hub's API on the loopback: repositories in memory, uploads by git LFS, faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from helpers.local_http import LocalHttp

TOKEN = "hf_secret8f3c"


class HubServer(LocalHttp):
    """Models by name. ``fail_uploads`` is how many further LFS uploads fail; ``uploads`` counts the others."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.fail_uploads = 0
        self.role = "write"
        self.requests: list[str] = []
        super().__init__(self._handler())

    def files(self, name: str) -> dict[str, bytes]:
        return self.models[name]["files"]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        parts = path.strip("/").split("/")
        if method == "PUT":
            return self._store(parts[-1], body)
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user", "auth": {"accessToken": {"role": self.role}}}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, self._batch(json.loads(body))
        name = "/".join(parts[2:4])
        if name not in self.models:
            return 404, {"error": "Repository not found"}
        return self._of_model(self.models[name], parts[4:], name, body)

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if self.role != "write":
            return 403, {"error": "You don't have the rights to create a model"}
        url = {"url": f"{self.url}/{name}"}
        if name in self.models:
            return 409, {**url, "error": "You already created this model repo"}
        self.models[name] = {"private": asked["visibility"] == "private", "files": {}}
        return 200, url

    def _of_model(self, model: dict[str, Any], rest: list[str], name: str, body: bytes) -> tuple[int, Any]:
        if rest[:1] == ["preupload"]:
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if rest[:1] == ["commit"]:
            self._commit(model["files"], [json.loads(line) for line in body.splitlines()])
            return 200, {"commitUrl": f"{self.url}/{name}/commit/{'0' * 40}", "commitOid": "0" * 40}
        if rest[:1] == ["tree"]:
            return 200, [{"type": "file", "path": one, "size": 1, "oid": "0" * 40} for one in model["files"]]
        siblings = [{"rfilename": one} for one in model["files"]]
        return 200, {"id": name, "sha": "0" * 40, "private": model["private"], "siblings": siblings, "tags": []}

    def _commit(self, files: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for one in asked["objects"]:
            upload = {"upload": {"href": f"{self.url}/storage/{one['oid']}", "header": {}}}
            objects.append({**one, **({} if one["oid"] in self.stored else {"actions": upload})})
        return {"transfer": "basic", "objects": objects}

    def _store(self, oid: str, body: bytes) -> tuple[int, Any]:
        if self.fail_uploads:
            self.fail_uploads -= 1
            return 400, {"error": "the storage has failed"}
        assert hashlib.sha256(body).hexdigest() == oid
        self.stored[oid] = body
        self.uploads.append(oid)
        return 200, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply("GET")

            def do_POST(self) -> None:
                self._reply("POST")

            def do_PUT(self) -> None:
                self._reply("PUT")

            def _reply(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b"".join(self._chunks())
                path = urlsplit(self.path).path
                hub.requests.append(f"{method} {path}")
                is_known = path.startswith("/storage/") or self.headers.get("Authorization") == f"Bearer {TOKEN}"
                status, answer = hub.answer(method, path, body) if is_known else (401, {"error": "Invalid credentials"})
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if status == 404:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                self.wfile.write(content)

            def _chunks(self) -> Iterator[bytes]:
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def hub_server() -> Iterator[HubServer]:
    server = HubServer()
    try:
        yield server
    finally:
        server.close()
