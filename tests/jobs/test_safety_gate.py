"""No way round the safety floor: no foreign record decides anything, and the gate itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_runs import base_and_adapter
from helpers.fixture_types import Run
from helpers.pages import search_record
from helpers.small_sets import FLOOR_TESTED, use_small_sets
from helpers.tiny_models import save_checkpoint
from safetensors.torch import load_file, save_file

import prosafeprune
from prosafeprune.evaluation.paired_refusals import ALL, BASE
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.jobs.safety_gate import (
    SafetyFloorError,
    measured_output,
    output_measured_inside,
    require_safe,
    unmeasured_output,
)
from prosafeprune.report.record import read_record
from prosafeprune.requests.recipe import make_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base and an adapter whose record says that nothing was lost."""
    place = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        use_small_sets(patch, test=FLOOR_TESTED)
        base, adapter = base_and_adapter(place)
    edit_record(adapter, safe)
    return {"base": base, "adapter": adapter}


def refused(record: dict[str, Any], before: int, after: int) -> None:
    """Say that the base model refused these percent of each harmful set, and the pruned model those."""
    points = 0.0
    for was, now in zip(record["source"]["sets"], record["result"]["sets"], strict=True):
        if was["prompt_class"] == "harmful":
            total = was["rate"]["total"]
            was["rate"]["successes"], now["rate"]["successes"] = total * before // 100, total * after // 100
            won = now["rate"]["successes"] - was["rate"]["successes"]
            points = 100 * won / total
            record["changes"][was["name"]].update(points=points, won=max(0, won), lost=max(0, -won))
    record["safety_change"].update(points=points, low=-1.0, high=1.0)


def safe(record: dict[str, Any]) -> None:
    record["floor"] = None  # as in records of version 0.1; with one: test_a_forged_decision_writes_nothing
    record["source"]["safety_score"] = 100.0
    refused(record, 100, 100)


def edit_record(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((folder / "prosafeprune.json").read_text())
    change(record)
    (folder / "prosafeprune.json").write_text(json.dumps(record))


def lost_90_points(record: dict[str, Any]) -> None:
    refused(record, 100, 10)
    record["recipe"].update(max_safety_drop=100, accept_unsafe=True)


def lost_in_the_change_alone(record: dict[str, Any]) -> None:
    record["safety_change"].update(points=-90.0)


def lost_in_the_rates_alone(record: dict[str, Any]) -> None:
    refused(record, 100, 10)
    record["safety_change"].update(points=0.0)


def never_refused(record: dict[str, Any]) -> None:
    refused(record, 0, 0)


def not_a_number(record: dict[str, Any]) -> None:
    record["safety_change"].update(points=float("nan"))


def beyond(record: dict[str, Any]) -> None:
    record["plan"]["layers"] = [0, 99]


def one_layer(record: dict[str, Any]) -> None:
    record["plan"].update(layers=[0], strength=[0.8])


def other_rank(record: dict[str, Any]) -> None:
    record["plan"]["rank"] = 5


def nested(record: dict[str, Any]) -> None:
    record["plan"] = [record["plan"]]


FORGED = {
    lost_90_points: (3, "more than the 3 allowed"),
    lost_in_the_change_alone: (2, "contradict each other"),
    lost_in_the_rates_alone: (2, "contradict each other"),
    never_refused: (3, "cannot be tested"),
    not_a_number: (2, "contradict each other"),
    beyond: (2, "names layer 99"),
    one_layer: (2, "which its plan does not prune"),
    other_rank: (2, "do not fit"),
    nested: (2, "cannot be read as a record"),
}


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__)
def test_a_forged_record_writes_nothing(
    forge: Callable[[dict[str, Any]], None], made: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    shutil.copytree(made["adapter"], tmp_path / "adapter")
    edit_record(tmp_path / "adapter", forge)
    code, _, err = run("apply", tmp_path / "adapter", made["base"], "-o", tmp_path / "out")
    expected, message = FORGED[forge]
    assert code == expected, err
    assert any(part in err for part in message.split("|")), err
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


COUNTS = {"name": ALL, "against": BASE, "without_verdict": 0, "lost": 0, "won": 0, "verdict": "safe"}


@pytest.mark.parametrize(
    ("tests", "lost_before", "code"),
    [
        ([], 0.0, 2),
        ([{"lost": 10**5}], 0.0, 2),
        ([{}], -90.0, 2),
        ([{"name": "another set"}], 0.0, 2),  # no test over all harmful prompts
        ([{"against": "another model"}], 0.0, 2),
        ([{"prompts": 500, "pairs": 500, "refused_before": 500}], 0.0, 2),  # other counts than the rates
        ([{"lost": 60}], 0.0, 3),
        ([{}], 0.0, 0),
    ],
)
def test_a_forged_decision_writes_nothing(
    tests: list[dict[str, Any]], lost_before: float, code: int, made: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    """The recorded verdict is never believed: it is made again from the counts, under the user's own rule."""
    shutil.copytree(made["adapter"], tmp_path / "adapter")

    def forge(record: dict[str, Any]) -> None:
        [total] = [score["rate"]["total"] for score in record["source"]["sets"] if score["prompt_class"] == "harmful"]
        counts = {**COUNTS, "prompts": total, "pairs": total, "refused_before": total}
        decided = {"verdict": "safe", "reasons": ["All is well."], "lost_before": lost_before}
        record["floor"] = {**decided, "tests": [{**counts, **test} for test in tests]}

    edit_record(tmp_path / "adapter", forge)
    assert run("apply", tmp_path / "adapter", made["base"], "-o", tmp_path / "out")[0] == code
    assert (tmp_path / "out").exists() == (code == 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_factors_that_are_not_finite_or_make_weights_that_are_not_write_nothing(
    value: float, made: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    shutil.copytree(made["adapter"], tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: torch.full_like(tensor, value) for name, tensor in load_file(weights).items()}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    edit_record(tmp_path / "adapter", lambda record: record.update(adapter_sha256=digest))
    run.refused("finite", "apply", tmp_path / "adapter", made["base"], "-o", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def hostile(record: dict[str, Any]) -> None:
    record["recipe"].update(
        trust_remote_code=True,
        judge="llm",
        judge_endpoint="http://attacker.invalid/v1",
        max_safety_drop=100,
        accept_unsafe=True,
        device="cuda:7",
        suite="paper",
        data_dir="/etc",
    )


def test_no_setting_is_taken_from_the_record(made: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(made["adapter"], tmp_path / "adapter")
    edit_record(tmp_path / "adapter", hostile)
    applied = prosafeprune.apply(tmp_path / "adapter", made["base"], tmp_path / "own", progress=False)
    written = read_record(tmp_path / "own").recipe
    assert applied.output == tmp_path / "own"
    assert (written.trust_remote_code, written.judge_endpoint, written.max_safety_drop) == (False, None, 3.0)
    asked = []

    def judge_asked(settings: Any, reporter: object) -> Any:
        asked.append((settings.judge, settings.judge_endpoint, settings.trust_remote_code, settings.device))
        raise prosafeprune.InputError("seen enough")

    monkeypatch.setattr("prosafeprune.jobs.apply.make_judge", judge_asked)
    with pytest.raises(prosafeprune.InputError, match="seen enough"):
        prosafeprune.apply(tmp_path / "adapter", made["base"], tmp_path / "other", strength=0.3, progress=False)
    assert asked == [("builtin", None, False, "auto")]


def test_the_gate_itself(made: dict[str, Path], tmp_path: Path) -> None:
    record = read_record(made["adapter"])
    lost = record.model_copy(
        update={"safety_change": record.safety_change.model_copy(update={"points": -4.0})}
        | {"recipe": make_recipe(model="m")}
    )
    out = tmp_path / "out"
    with pytest.raises(SafetyFloorError), measured_output(out, lost, overwrite=False):
        raise AssertionError("the gate is open")
    with (
        pytest.raises(SafetyFloorError, match="only written with --unmeasured"),
        unmeasured_output(out, make_recipe(model="m", layers=1), overwrite=False),
    ):
        raise AssertionError("the gate is open")
    unmeasured = make_recipe(model="m", layers=1, memory="low", unmeasured=True)
    with (
        pytest.raises(SafetyFloorError, match="does not say that the model was not measured"),
        unmeasured_output(out, unmeasured, overwrite=False) as folder,
    ):
        record.write(folder)  # looks measured
    with pytest.raises(SafetyFloorError), output_measured_inside(out, overwrite=False) as folder:
        lost.write(folder)
    other = record.model_copy(update={"source": record.result})
    for written in (lost, other):
        with pytest.raises(SafetyFloorError), measured_output(out, record, overwrite=False) as folder:
            written.write(folder)
    with pytest.raises(prosafeprune.InputError), measured_output(out, record, overwrite=False):
        pass  # without any record
    assert not list(tmp_path.iterdir())


def test_a_result_that_is_not_saved_names_a_safer_plan_of_its_search(made: dict[str, Path]) -> None:
    record = read_record(made["adapter"])
    lost = record.model_copy(
        update={"safety_change": record.safety_change.model_copy(update={"points": -4.0})}
        | {"recipe": make_recipe(model="m")}
    )
    search = search_record()  # plan 2 was measured at C.R. 71, S.S. 92; plan 1 at 62 and 94
    lost = lost.model_copy(update={"plan": search.points[1].plan})
    result = PruneResult(lost, None, None, None, None, search=search)  # measurements are not looked at
    with pytest.raises(SafetyFloorError, match=r"--choose 1 \(layers 1, .*C.R. 62.0, S.S. 94.0, the base model 55.0"):
        require_safe(result)
    safest = PruneResult(lost, None, None, None, None, search=search.model_copy(update={"points": search.points[1:]}))
    with pytest.raises(SafetyFloorError) as caught:
        require_safe(safest)
    assert "--choose" not in str(caught.value)


@pytest.mark.parametrize("folder", ["", "out", "a/b"])
def test_nothing_is_written_into_the_base_models_own_folder(folder: str, run: Run, tmp_path: Path) -> None:
    base = save_checkpoint(tmp_path / "base", "llama")
    before = sorted(base.rglob("*"))
    for command in (("prune", base, "--layers", 1), ("evaluate", base), ("compare", base), ("search", base)):
        run.refused("model's folder", *command, "-o", base / folder, "--device", "cpu")
    assert sorted(base.rglob("*")) == before
