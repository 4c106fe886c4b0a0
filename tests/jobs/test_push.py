"""Uploading to a stand-in of the hub: private by default, resumable, and only what keeps the safety floor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.adapter_runs import apply, base_and_adapter, prune
from helpers.fixture_types import Make, Run
from helpers.hub_server import TOKEN, HubServer, hub_server
from helpers.json_lines import write_prompts
from helpers.pages import measurement, record, search_record

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.evaluation.floor_rule import FloorRule
from prosafeprune.evaluation.prompts_record import calibration_record, prompts_record
from prosafeprune.evaluation.safety_floor import decide
from prosafeprune.files.resumable_folder import MADE_BY
from prosafeprune.jobs.push import PushTarget, existing_output, push_target, upload
from prosafeprune.jobs.safety_gate import SafetyFloorError
from prosafeprune.jobs.search import search_identity
from prosafeprune.method.plan import Plan
from prosafeprune.model.source import model_hash
from prosafeprune.plan_search.search_record import RECORD
from prosafeprune.progress import SILENT, SilentReporter
from prosafeprune.report.card import write_card
from prosafeprune.report.record import read_record
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import prepare_run

PLAN = Plan(layers=(1, 2), rank=8, strength=0.8)
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


def written(folder: Path, refused: int = 95, names: tuple[str, ...] = (), **settings: Any) -> Path:
    """Return a folder as ``prune`` writes it, of a model that complies with more and refuses so many of 100."""
    before, after = measurement(40, 95), measurement(60, refused)
    made = record(before, after, PLAN, **{"layers": "1-2", **settings})
    made = made.model_copy(update={"floor": decide(before.sets, after.sets, FloorRule.of(made.recipe))})
    moved = made.benign_divergence.model_copy(update={"worst_prompt": "How do I boil an egg?"})
    made = made.model_copy(update={"benign_divergence": moved})
    made = made.model_copy(update={"evaluation": dict.fromkeys(names, made.calibration["harmful"])})
    folder.mkdir()
    (folder / "source").mkdir()
    write_card(folder, made, "org/tiny", folder / "source")
    (folder / "source").rmdir()
    made.write(folder)
    for name in ("model-00001-of-00002", "model-00002-of-00002"):
        (folder / f"{name}.safetensors").write_bytes(name.encode() * 100)
    for name in ("config.json", "report.html", "prosafeprune_answers.jsonl", ".prosafeprune.files", "share.png"):
        (folder / name).write_text("{}")
    return folder


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
    read_record(folder).model_copy(update={"adapter_sha256": "0" * 64}).write(folder)
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


def written_of(base: Path, folder: Path, **settings: Any) -> Path:
    """Return such a folder whose record is of a model and prompts that are there."""
    prepared = prepare_run(
        make_recipe(**{"model": str(base), "layers": "1-2", **settings}), None, overwrite=False, reporter=SILENT
    )
    made = read_record(written(folder, **{"model": base.name, **shown_names(settings)}))
    facts = {
        "model": made.model.model_copy(update={"sha256": model_hash(base)}),
        "calibration": calibration_record(prepared.calibration),
        "evaluation": {test_set.name: prompts_record(test_set.prompts) for test_set in prepared.evaluation},
    }
    made.model_copy(update=facts).write(folder)
    return folder


def shown_names(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: Path(value).name if value is not None else None for name, value in settings.items()}


def test_only_a_folder_of_the_same_request_counts_as_written(tmp_path: Path, checkpoint: Make) -> None:
    """Models and files of the same names in other folders are other ones."""
    base = checkpoint("llama")
    prompts = write_prompts(tmp_path / "own.jsonl", [f"Tell me of lock {number * number}." for number in range(20)])
    folder = written_of(base, tmp_path / "out", pseudo_harmful=prompts)
    same = make_recipe(model=str(base), layers="1-2", pseudo_harmful=prompts)
    assert existing_output(folder, same) is not None
    assert existing_output(folder, make_recipe(model=str(base), layers="1", pseudo_harmful=prompts)) is None
    assert existing_output(tmp_path / "nothing", same) is None
    other = Path(shutil.copytree(checkpoint("qwen2"), tmp_path / "elsewhere" / base.name))
    assert existing_output(folder, make_recipe(model=str(other), layers="1-2", pseudo_harmful=prompts)) is None
    write_prompts(tmp_path / "own.jsonl", [f"Tell me of key {number * number}." for number in range(20)])
    assert existing_output(folder, same) is None


def test_only_a_folder_of_the_chosen_plan_counts_as_written(
    tmp_path: Path, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe in a record does not say which plan of a search was chosen."""
    base, kept = checkpoint("llama"), tmp_path / "search"
    folder, asked = written_of(base, tmp_path / "out", layers=None), make_recipe(model=str(base))
    found = search_record()
    found.made_by = {"model": model_hash(base)}
    found.points[1] = found.points[1].model_copy(update={"plan": PLAN})
    kept.mkdir()
    prepared = prepare_run(asked, None, overwrite=False, reporter=SILENT)
    (kept / MADE_BY).write_text(json.dumps(search_identity(prepared, read_record(folder).judge)))
    (kept / RECORD).write_text(found.model_dump_json())
    assert existing_output(folder, asked, search=kept, choose=2) is not None
    assert existing_output(folder, asked, search=kept, choose=1) is None
    assert existing_output(folder, asked, search=kept) is not None  # whichever it was: this search is not finished
    for selected, is_same in ((1, False), (2, True)):
        of_search = found.model_copy(update={"chosen": selected})
        monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.finished_search", lambda *_, it=of_search: it)
        assert (existing_output(folder, asked, search=kept) is not None) is is_same


@pytest.mark.long
def test_what_another_adapter_made_does_not_count_as_written(tmp_path: Path) -> None:
    base, adapter = base_and_adapter(tmp_path)
    apply(adapter, base, tmp_path / "out")
    asked = ApplyRequest(model=str(base))
    assert existing_output(tmp_path / "out", asked, str(adapter)) is not None
    for other in ({"layers": "0,2", "strength": (0.8, 0.4)}, {"layers": "0,2", "seed": 1, "samples": 6}):
        folder = tmp_path / f"other-{len(other)}"
        files = {name: str(tmp_path / f"{name}.jsonl") for name in ("benign", "harmful", "pseudo_harmful")}
        prune(base, folder, files, **other)
        assert existing_output(tmp_path / "out", asked, str(folder)) is None


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
    assert "not uploaded to a public repository" in reporter.lines[0]
