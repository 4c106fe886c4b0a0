"""What ``doctor`` says of this machine, on a hub that answers and one that does not."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
import torch
from helpers.fixture_types import Run
from helpers.hub_server import TOKEN, hub_server

from prosafeprune.jobs import doctor
from prosafeprune.setup.machine import memory_bytes, peak_memory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIED_SECONDS", 0.01)
    monkeypatch.setattr(doctor, "WIDTH", 64)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_it_reports_devices_memory_speed_and_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setitem(doctor.EXTRAS, "nothing", ("no_such_module", "tests"))
    with hub_server() as server:
        server.models = {}
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        code, out, _ = run("doctor", "--json")
    assert code == 0
    found = json.loads(out)
    cpu = found["devices"][-1]
    assert cpu["name"] == "cpu" and 0 < cpu["free"] <= cpu["memory"] == memory_bytes()[0]
    assert cpu["speed"]["float32"] > 1e6 and cpu["largest_model"] < cpu["free"] / 2
    assert "nothing" in found["missing_extras"]
    assert found["has_token"] and TOKEN not in out
    assert found["versions"]["torch"] == version("torch")


def test_a_hub_that_does_not_answer_is_said_to_be_unreachable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    code, out, _ = run("doctor")
    assert code == 0 and "unreachable" in out


def test_peak_memory_counts_what_was_taken() -> None:
    kept = torch.ones(40_000_000)
    assert peak_memory(torch.device("cpu")) > 4 * kept.numel()
