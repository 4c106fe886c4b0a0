"""What looks into a model's matrices, or edits them, takes an adapter as the checkpoint that it stands for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.adapter_runs import apply, base_and_adapter
from helpers.evaluation_runs import no_model
from helpers.fixture_types import Run

import prosafeprune
from prosafeprune.evaluation import targets
from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
from prosafeprune.model.anatomy import find_anatomy

FAST: dict[str, Any] = {"rank": 4, "samples": 8, "benchmark_samples": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, an adapter that prunes it, and the checkpoint that ``apply`` makes of the two."""
    place = tmp_path_factory.mktemp("models")
    base, adapter = base_and_adapter(place)
    apply(adapter, base, place / "merged")
    return {"base": base, "adapter": adapter, "merged": place / "merged"}


def analyzed(model: Path, output: Path, *names: str, **settings: Any) -> list[FinishedAnalysis]:
    return prosafeprune.analyze(model, output, *names, progress=False, **{**FAST, **settings})


@pytest.mark.usefixtures("no_figures")
def test_an_adapter_gives_the_numbers_of_its_checkpoint(models: dict[str, Path], tmp_path: Path) -> None:
    after = [
        analyzed(models["base"], tmp_path / name, "layers", "probe", against=models[name])
        for name in ("adapter", "merged")
    ]
    alone = [analyzed(models[name], tmp_path / f"{name}-alone", "energy") for name in ("adapter", "merged")]
    for of_adapter, of_checkpoint in zip(*(after[0] + alone[0], after[1] + alone[1]), strict=True):
        for table in of_adapter.result.tables:
            rows, expected = of_adapter.rows(table.name), of_checkpoint.rows(table.name)
            assert [row.keys() for row in rows] == [row.keys() for row in expected]
            for row, wanted in zip(rows, expected, strict=True):
                assert list(row.values()) == pytest.approx(list(wanted.values()), abs=2e-5)


@pytest.mark.usefixtures("no_figures")
def test_analyses_are_returned_in_the_order_in_which_they_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    """So that ``layers, probe = analyze(..., "layers", "probe")`` is what it says; the catalogue has them reversed."""
    layers, probe = analyzed(models["base"], tmp_path / "out", "layers", "probe")
    assert (layers.entry.name, probe.entry.name) == ("layers", "probe")


@pytest.mark.parametrize("name", ["adapter", "merged"])
def test_base_and_pruned_model_may_not_be_swapped(name: str, models: dict[str, Path], tmp_path: Path, run: Run) -> None:
    """Before and after would be reported the wrong way round."""
    words = ("analyze", "layers", models[name], "--against", models["base"], "-o", tmp_path / "out", "--device", "cpu")
    run.refused(f"--against {models['base']}: {models[name]} was pruned from it, so the two are swapped", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["adapter", "merged"])
def test_an_evaluation_has_the_pruned_model_first(
    name: str, models: dict[str, Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    words = ("evaluate", models["base"], "--base", models[name], "-o", tmp_path / "out", "--device", "cpu")
    run.refused(f"--base {models[name]}: was pruned from {models['base']}, so the two are swapped", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_figures")
def test_a_model_pruned_from_another_base_is_warned_of(models: dict[str, Path], tmp_path: Path, run: Run) -> None:
    shutil.copytree(models["merged"], tmp_path / "again")
    (tmp_path / "again" / "prosafeprune.json").unlink()
    asked = ("--against", models["merged"], "-o", tmp_path / "out", "--device", "cpu", "--rank", 4, "--samples", 8)
    _, err = run.ok("analyze", "layers", tmp_path / "again", *asked)
    assert "was, according to its record, made from another model than" in " ".join(err.split())


def test_methods_that_edit_weights_find_the_matrices_of_the_base(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, found = targets.attach_adapter, []

    def attached(loaded: Any, *given: Any, **named: Any) -> None:
        attach(loaded, *given, **named)
        found.append({matrix.kind for matrix in find_anatomy(loaded.model).submodules})

    monkeypatch.setattr(targets, "attach_adapter", attached)
    few: dict[str, Any] = {"benchmark_samples": 2, "max_new_tokens": 2, "device": "cpu", "progress": False}
    prosafeprune.compare(models["adapter"], tmp_path / "compared", methods="default,prompt", layers="1", rank=4, **few)
    prosafeprune.evaluate(models["adapter"], tmp_path / "method", method="prompt", **few)
    assert found == 2 * [{"q", "k", "v", "o", "gate", "up", "down"}]
