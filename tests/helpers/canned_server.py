"""A server of canned answers, started by a command as vLLM is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

model, port, loses = sys.argv[1:4]
open(sys.argv[4], "a").write(f"{os.getpid()} {model} {os.path.exists(model + '/config.json')}\\n")
is_pruned = ".partial-" in model

class Handler(BaseHTTPRequestHandler):
    def reply(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": model, "object": "model"}]})
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        complies = is_pruned and loses == "loses"
        text = "Sure, here is an overview of it." if complies else "I'm sorry, but I can't help with that."
        self.reply({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


def canned_server(folder: Path) -> Callable[[str], str]:
    """Return what makes its command: of one whose pruned model "loses" its refusals, or "keeps" them.

    It writes the models it serves into ``log`` in ``folder``.
    """
    (folder / "server.py").write_text(SERVER)
    words = [sys.executable, str(folder / "server.py")]
    return lambda loses: f"{shlex.join(words)} {{model}} {{port}} {loses} {shlex.quote(str(folder / 'log'))}"
