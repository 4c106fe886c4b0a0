"""A model larger than memory, measured behind a server that is started on base and pruned model in turn."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.canned_server import canned_server
from helpers.fixture_types import Make, Run
from helpers.small_sets import FLOOR_TESTED, use_small_sets
from helpers.tiny_models import TEMPLATE, copy_with_template

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.generation import local_server
from prosafeprune.generation.local_server import read_command, server_identity, serving
from prosafeprune.generation.openai_client import OpenAIClient
from prosafeprune.jobs.prune_served import run_prune_served
from prosafeprune.jobs.safety_gate import SafetyFloorError, output_measured_inside
from prosafeprune.progress import SilentReporter
from prosafeprune.report.record import read_record
from prosafeprune.requests.recipe import make_recipe


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    use_small_sets(monkeypatch, test=FLOOR_TESTED)
    return canned_server(tmp_path)


def asked(model: Path, files: dict[str, str]) -> prosafeprune.Recipe:
    return make_recipe(model=str(model), memory="low", layers="1-2", rank=4, device="cpu", max_new_tokens=16, **files)


@pytest.mark.long
def test_base_and_pruned_model_are_measured_and_saved(
    command: Callable[[str], str], checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("llama")
    result = run_prune_served(asked(source, prompt_files), tmp_path / "out", command("keeps"))
    record = read_record(tmp_path / "out")
    assert record.model_dump() == result.record.model_dump()
    assert record.measured
    assert record.benign_divergence is None
    assert record.source.safety_score == record.result.safety_score == 100
    assert record.decision is not None
    assert record.decision.may_save
    served = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [(Path(model).name.startswith(".out.partial"), there) for _, model, there in served] == [
        (False, "True"),
        (True, "True"),
    ]
    for process, _, _ in served:
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)
    assert "benign prompts, nats" not in (tmp_path / "out" / "README.md").read_text()
    plain = prosafeprune.prune_unmeasured(
        source, tmp_path / "plain", layers="1-2", rank=4, device="cpu", progress=False, **prompt_files
    )
    assert plain.record.submodules == record.submodules
    weights = "model.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (tmp_path / "out" / weights).read_bytes()


def test_a_thought_that_no_request_can_end_is_not_measured(
    command: Callable[[str], str], checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    template = TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"
    source = copy_with_template(checkpoint("llama"), tmp_path / "reasoning", template)
    with pytest.raises(InputError, match="opens a thought whatever it is asked.*Use --thinking on"):
        run_prune_served(asked(source, prompt_files), tmp_path / "out", command("keeps"))
    assert not (tmp_path / "log").exists()  # no server was started


@pytest.mark.long
def test_a_pruned_model_that_lost_its_refusals_is_not_saved(
    command: Callable[[str], str], checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = run_prune_served(asked(checkpoint("llama"), prompt_files), tmp_path / "out", command("loses"))
    assert not result.is_safe
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    assert "Not saved" in (tmp_path / "out-not-saved.html").read_text()


def test_the_gate_wants_the_record_of_a_model_measured_inside(tmp_path: Path) -> None:
    with (
        pytest.raises((InputError, SafetyFloorError)),
        output_measured_inside(tmp_path / "out", overwrite=False) as staging,
    ):
        (staging / "prosafeprune.json").write_text(json.dumps({"measured": False}))
    assert not (tmp_path / "out").exists()


def test_servers_that_fail_are_one_line(tmp_path: Path) -> None:
    failing = f"{shlex.quote(sys.executable)} -c 'raise SystemExit(\"no GPU here\")' {{model}} {{port}}"
    with (
        pytest.raises(InputError, match="ended with exit code 1.* Its last line: no GPU here"),
        serving(failing, tmp_path, SilentReporter()),
    ):
        pass
    with (
        pytest.raises(InputError, match="no-such-program cannot be run"),
        serving("no-such-program {model} {port}", tmp_path, SilentReporter()),
    ):
        pass
    with pytest.raises(InputError, match="must be a command"):
        read_command("vllm serve x")
    with pytest.raises(InputError, match="is not a command .no closing quotation"):
        read_command("vllm serve {model} --port {port} --chat-template 'it")
    assert "{port}" in read_command("vllm")


WITH_A_KEY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        has_key = self.headers.get("Authorization") == "Bearer the-key-of-this-server"
        data = b'{"object": "list", "data": [{"id": "m", "object": "model"}]}' if has_key else b"{}"
        self.send_response(200 if has_key else 401)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def test_a_server_that_wants_a_key_is_ready_and_no_proxy_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "START_SECONDS", 20.0)
    monkeypatch.setenv("PROSAFEPRUNE_API_KEY", "the-key-of-this-server")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    (tmp_path / "server.py").write_text(WITH_A_KEY)
    command = f"{shlex.join([sys.executable, str(tmp_path / 'server.py')])} {{model}} {{port}}"
    with serving(command, tmp_path, SilentReporter()) as url:
        assert OpenAIClient(url, retries=0).model == "m"


STOPS_SLOWLY = """
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

def stop(*_):
    time.sleep(1)
    open(sys.argv[1] + "/stopped", "w").close()
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def test_a_server_that_a_script_started_has_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_server, "START_SECONDS", 20.0)
    (tmp_path / "server.py").write_text(STOPS_SLOWLY)
    words = shlex.join([sys.executable, str(tmp_path / "server.py")])
    command = f"sh -c {shlex.quote(words + ' {model} {port} & wait')}"
    with serving(command, tmp_path, SilentReporter()):
        assert not (tmp_path / "stopped").exists()
    assert (tmp_path / "stopped").exists()


def test_the_command_asks_for_low_memory(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint("llama")
    run.refused(
        "is for --memory low and --load", "prune", source, "-o", tmp_path / "out", "--layers", 1, "--serve-with", "vllm"
    )
    code, _, err = run("prune", source, "-o", tmp_path / "out", "--layers", 1, "--memory", "low")
    assert (code, "--unmeasured" in err, "--serve-with" in err) == (2, True, True)
    low = ("prune", source, "-o", tmp_path / "out", "--layers", 1, "--memory", "low", "--dry-run")
    run.refused("must be a command", *low, "--serve-with", "serve")


def test_answers_of_a_server_whose_script_has_changed_are_not_taken(tmp_path: Path) -> None:
    script = tmp_path / "serve.sh"
    script.write_text("one")
    command = f"sh {script} {{model}} {{port}}"
    before = server_identity(command)
    assert server_identity(command) == before
    assert {"sh", str(script)} <= before["files"].keys()
    script.write_text("two")
    assert server_identity(command) != before
