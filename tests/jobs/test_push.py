"""Uploading to a stand-in of the hub: private by default, resumable, and only what keeps the safety floor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.fixture_types import Make, Run
from helpers.hub_server import TOKEN, HubServer, hub_server
from helpers.written_models import written, written_of

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.jobs.push import PushTarget, push_target, upload
from prosafeprune.jobs.safety_gate import SafetyFloorError
from prosafeprune.progress import SilentReporter
from prosafeprune.report.record import read_record
from prosafeprune.requests.recipe import make_recipe

NAME = "me/tiny-pruned"


class Heard(SilentReporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warning(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_a_model_is_uploaded_privately_with_card_record_and_report(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    assert prosafeprune.push(folder, NAME, progress=False) == f"{hub.url}/{NAME}"
    assert hub.models[NAME]["private"]
    files = hub.files(NAME)
    assert {name: files[name] for name in files} == {
        file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".prosafeprune.files"
    }
    metadata = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert metadata["base_model"] == "org/tiny" and "prosafeprune" in metadata["tags"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 60.0


def test_an_interrupted_upload_resumes(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    hub.fail_uploads = 1
    with pytest.raises(InputError, match=rf"^--push: .*The model is in {folder}\. To resume the upload, run the same"):
        prosafeprune.push(folder, NAME, progress=False)
    sent = list(hub.uploads)
    prosafeprune.push(folder, NAME, progress=False)
    assert len(hub.uploads) == 2 and hub.uploads[: len(sent)] == sent  # nothing was sent twice
    assert "model-00002-of-00002.safetensors" in hub.files(NAME)


def test_another_upload_replaces_the_weights_of_an_earlier_one(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out")
    prosafeprune.push(folder, NAME, progress=False)
    (folder / "model-00002-of-00002.safetensors").rename(folder / "model.safetensors")
    prosafeprune.push(folder, NAME, progress=False)
    assert {file for file in hub.files(NAME) if file.endswith("safetensors")} == {
        "model-00001-of-00002.safetensors",
        "model.safetensors",
    }


def test_own_prompts_stay_out_of_a_public_repository(hub: HubServer, tmp_path: Path) -> None:
    for number, own in enumerate(("held-out-harmful", "own-harmful", "measured-before")):  # the last: of --from
        name = f"{NAME}-{number}"
        prosafeprune.push(written(tmp_path / own, names=(own,)), name, public=True, progress=False)
        assert not hub.models[name]["private"]
        assert not {"report.html", "prosafeprune_answers.jsonl"} & hub.files(name).keys()
    prosafeprune.push(written(tmp_path / "public"), "me/other", public=True, progress=False)
    assert {"report.html", "prosafeprune_answers.jsonl"} <= hub.files("me/other").keys()


def test_own_prompts_do_not_stay_in_a_repository_that_was_private(hub: HubServer, tmp_path: Path) -> None:
    folder, reporter = written(tmp_path / "out", names=("own-harmful",)), Heard()
    upload(folder, PushTarget(NAME), reporter)
    assert {"report.html", "prosafeprune_answers.jsonl"} <= hub.files(NAME).keys()
    assert not any("earlier upload" in line for line in reporter.lines)
    hub.models[NAME]["private"] = False
    upload(folder, PushTarget(NAME, public=True), reporter)
    assert not {"report.html", "prosafeprune_answers.jsonl"} & hub.files(NAME).keys()
    assert any("its history keeps them" in line for line in reporter.lines)


def test_a_checkpoint_after_an_adapter_does_not_stay_an_adapter(hub: HubServer, tmp_path: Path) -> None:
    adapter = written(tmp_path / "adapter", format="adapter")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/tiny"}))
    prosafeprune.push(adapter, NAME, progress=False)
    assert "adapter_config.json" in hub.files(NAME)
    prosafeprune.push(written(tmp_path / "out"), NAME, progress=False)
    assert "adapter_config.json" not in hub.files(NAME)


@pytest.mark.parametrize(
    ("refused", "settings"),
    [
        (80, {}),
        (95, {"max_safety_drop": 100, "accept_unsafe": True}),
        (95, {"test_samples": 20}),
    ],
)
def test_what_the_floor_refuses_is_not_uploaded(
    hub: HubServer, tmp_path: Path, refused: int, settings: dict[str, Any]
) -> None:
    with pytest.raises(SafetyFloorError):
        prosafeprune.push(written(tmp_path / "out", refused, **settings), NAME, progress=False)
    assert not hub.models and not hub.uploads


def test_a_record_that_was_made_kinder_by_hand_is_not_believed(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out", 80)
    values = json.loads((folder / "prosafeprune.json").read_text())
    values["floor"]["verdict"] = "safe"
    (folder / "prosafeprune.json").write_text(json.dumps(values))
    with pytest.raises(SafetyFloorError):
        prosafeprune.push(folder, NAME, progress=False)


def test_an_adapter_of_a_local_base_model_is_not_uploaded(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out", format="adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    read_record(folder).model_copy(update={"adapter_sha256": digest}).write(folder)
    for base in ("../../home/somebody/base", "/home/somebody/base"):
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(InputError, match=rf"names {base}, a path of this machine"):
            prosafeprune.push(folder, NAME, progress=False)
    assert not hub.uploads
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/tiny"}))
    prosafeprune.push(folder, NAME, progress=False)


def target(
    hub: HubServer, push: str = NAME, output: Path | None = Path("out"), public: bool = False, **more: Any
) -> Any:
    return push_target(make_recipe(**{"model": "org/tiny", **more}), output, push, public)


def test_what_cannot_be_uploaded_is_said_before_the_long_work(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert target(hub).repository == NAME
    with pytest.raises(InputError, match="Give ORG/NAME"):
        target(hub, "https://evil/a/b")
    with pytest.raises(InputError, match="Give --output as well"):
        target(hub, output=None)
    with pytest.raises(InputError, match="measured in full"):
        target(hub, draft=True)
    with pytest.raises(InputError, match="safety floor is switched off"):
        target(hub, max_safety_drop=100, accept_unsafe=True)
    with pytest.raises(InputError, match="by its hub id"):
        target(hub, model=str(tmp_path), format="adapter")
    hub.models["me/public"] = {"private": False, "files": {}}
    with pytest.raises(InputError, match="the repository is public"):
        target(hub, "me/public")
    hub.models["me/other"] = {"private": True, "files": {"README.md": b"", "model.safetensors": b"x"}}
    with pytest.raises(InputError, match=r"holds model\.safetensors, which prosafeprune did not upload"):
        target(hub, "me/other")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="the token is not valid") as failed:
        target(hub)
    assert "hf_wrong" not in str(failed.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="Set HF_TOKEN"):
        target(hub)
    with pytest.raises(InputError, match="Give --push ORG/NAME as well"):
        push_target(make_recipe(model="org/tiny"), Path("out"), None, True)
    assert not hub.uploads


def test_a_token_that_may_not_write_is_one_line(hub: HubServer, tmp_path: Path) -> None:
    hub.role = "read"
    with pytest.raises(InputError, match=r"the token may not write there \(403\)"):
        prosafeprune.push(written(tmp_path / "out"), NAME, progress=False)


def test_the_command_uploads_what_an_earlier_run_wrote(
    hub: HubServer, run: Run, tmp_path: Path, checkpoint: Make
) -> None:
    base = checkpoint("llama")
    folder = written_of(base, tmp_path / "out")
    out, err = run.ok("prune", base, "--layers", "1-2", "-o", folder, "--push", NAME)
    assert "only its upload is left" in err
    assert f"Uploaded: {hub.url}/{NAME}" in err
    assert TOKEN not in out + err
    assert hub.models[NAME]["private"] and "model-00001-of-00002.safetensors" in hub.files(NAME)


def test_the_reporter_hears_what_is_left_out(hub: HubServer, tmp_path: Path) -> None:
    reporter = Heard()
    upload(written(tmp_path / "out", names=("own-harmful",)), PushTarget(NAME, public=True), reporter)
    assert any("not uploaded to a public repository" in line for line in reporter.lines)


def test_weights_that_are_not_those_of_the_record_are_not_uploaded(hub: HubServer, tmp_path: Path) -> None:
    folder = written(tmp_path / "out", format="adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"retrained")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/tiny"}))
    read_record(folder).model_copy(update={"adapter_sha256": "0" * 64}).write(folder)
    with pytest.raises(InputError, match="are not those of its record"):
        prosafeprune.push(folder, NAME, progress=False)
    assert not hub.models and not hub.uploads
