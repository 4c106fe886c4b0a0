"""What `prosafeprune apply` does not take: each fault is one line and exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.adapter_runs import base_and_adapter
from helpers.fixture_types import Run
from helpers.tiny_models import save_checkpoint
from safetensors.torch import load_file, save_file

FAULTS = {
    "wrong base": "is not the model that the adapter was made from",
    "changed base": "is not the model that the adapter was made from",
    "missing base": "no such folder or file",
    "missing adapter": "no such folder",
    "a model": "is a pruned model, not an adapter",
    "no record": "has no prosafeprune.json",
    "broken record": "cannot be read as a record",
    "other sets": "cannot be read as a record",
    "no changes": "cannot be read as a record",
    "no submodules": "cannot be read as a record",
    "damaged": "is missing, damaged or not the file of its record",
    "rescaled": "is missing, damaged or not the file of its record",
    "no weights": "is missing, damaged or not the file of its record",
    "output exists": "exists already",
    "into the base": "base model's folder",
    "into the adapter": "adapter's folder",
    "bad strength": "strength",
    "strength above 1": "strength 1.5 is above 1, the largest that the orthogonal projection takes.",
    "too many strengths": "3 strengths are given for 2 layers",
    "no strength there": "strength 0 in layer 2",
    "pruned base": "its base model was pruned before",
    "unmeasured base": "was pruned without being measured",
    "odd drop": "cannot be read as a record",
    "endless counts": "cannot be read as a record",
}
RECORD_WITH: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a model": lambda record: {"adapter_sha256": None},
    "other sets": lambda record: {"result": {**record["result"], "sets": record["result"]["sets"][1:]}},
    "no changes": lambda record: {"changes": {}},
    "no submodules": lambda record: {"submodules": []},
    "odd drop": lambda record: {"recipe": {"max_safety_drop": "much"}},
    "endless counts": lambda record: {
        "floor": {**record["floor"], "tests": [{**record["floor"]["tests"][0], "prompts": 10**12, "pairs": 10**12}]}
    },
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[object]]:
    """Give the arguments of `apply` in which one thing is wrong."""
    place = tmp_path_factory.mktemp("faulty")
    base, made = base_and_adapter(place, strength=(0.8, 0.0))
    shutil.copytree(base, place / "changed")
    config = json.loads((base / "config.json").read_text())
    (place / "changed" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    save_checkpoint(place / "other", "qwen2")
    for name, measured in (("pruned", True), ("unmeasured", False)):  # the model's hash is of weights and config alone
        shutil.copytree(base, place / name)
        record = json.loads((made / "prosafeprune.json").read_text())
        (place / name / "prosafeprune.json").write_text(json.dumps({**record, "measured": measured}))

    def make(fault: str, folder: Path) -> list[object]:
        adapter = folder / "adapter"
        shutil.copytree(made, adapter)
        given: dict[str, Any] = {"adapter": adapter, "base": base, "output": folder / "out", "strength": None}
        weights = adapter / "adapter_model.safetensors"
        if fault == "damaged":
            weights.write_bytes(weights.read_bytes()[:-9])
        elif fault == "rescaled":
            save_file({name: tensor * 2 for name, tensor in load_file(weights).items()}, weights)
        elif fault == "no weights":
            weights.unlink()
        elif fault == "no record":
            (adapter / "prosafeprune.json").unlink()
        elif fault == "broken record":
            (adapter / "prosafeprune.json").write_text("{}")
        elif fault in RECORD_WITH:
            record = json.loads((adapter / "prosafeprune.json").read_text())
            (adapter / "prosafeprune.json").write_text(json.dumps(record | RECORD_WITH[fault](record)))
        elif fault == "output exists":
            given["output"].mkdir()
        given |= {
            "wrong base": {"base": place / "other"},
            "changed base": {"base": place / "changed"},
            "pruned base": {"base": place / "pruned"},
            "unmeasured base": {"base": place / "unmeasured"},
            "missing base": {"base": place / "nowhere"},
            "missing adapter": {"adapter": folder / "nowhere"},
            "into the base": {"output": base / "out"},
            "into the adapter": {"output": adapter},
            "bad strength": {"strength": "much"},
            "strength above 1": {"strength": "1.5,0.0"},
            "too many strengths": {"strength": "0.1,0.2,0.3"},
            "no strength there": {"strength": "0.5"},
        }.get(fault, {})
        strength = ["--strength", given["strength"]] if given["strength"] else []
        return ["apply", given["adapter"], given["base"], "-o", given["output"], *strength]

    return make


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_applied_is_one_line_and_exit_code_2(
    fault: str, run: Run, faulty: Callable[..., list[object]], tmp_path: Path
) -> None:
    arguments = faulty(fault, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, out, len(errors)) == (2, "", 1), err
    assert FAULTS[fault] in errors[0]
    assert sorted(tmp_path.rglob("*")) == before
