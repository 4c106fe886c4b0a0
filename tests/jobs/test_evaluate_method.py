"""`prosafeprune evaluate --method`: a method fitted there, or by a comparison."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluation_runs import answers_in
from helpers.fixture_types import Make, Run
from safetensors.torch import load_file

from prosafeprune.baselines.fitting import read_fitted, write_fitted


@pytest.mark.parametrize("method", ["scan", "surgical", "prosafeprune"])
def test_what_was_fitted_serves_evaluate(
    compare: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, sets: list[str], tmp_path: Path, method: str
) -> None:
    compare("--methods", method)
    fitted = tmp_path / "out" / method / "fitted.safetensors"
    common = [*sets, "--max-new-tokens", "4", "--device", "cpu", "--json"]
    evaluate = ["evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *common, "--method", method]
    out, _ = run.ok(*evaluate, "--fitted", fitted)
    assert json.loads(out)["made_by"]["method"]["method"] == method
    assert answers_in(tmp_path / "alone") == answers_in(tmp_path / "out" / method)

    evaluate[3] = tmp_path / "behind"
    _, err = run.ok(*evaluate, "--fitted", fitted, "--system", "Answer in German.")
    assert "was fitted with another --system" in " ".join(err.split())

    made_by = [json.loads((tmp_path / name / "made_by.json").read_text()) for name in ("alone", "behind")]
    assert [one["system"] for one in made_by] == [None, "Answer in German."]  # as measured, not as fitted
    evaluate[3] = tmp_path / "float32"
    _, err = run.ok(*evaluate, "--fitted", fitted, "--dtype", "float32")
    assert "was fitted with another --dtype" in " ".join(err.split())

    other = "surgical" if method == "scan" else "scan"
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(fitted.read_bytes()[:-10])
    for model, name, file, words in (
        (checkpoint("llama"), other, fitted, f"was fitted for {method}, not for {other}"),
        (checkpoint("qwen2"), method, fitted, "belongs to another fit (model"),
        (checkpoint("llama"), method, damaged, "or damaged"),
        (checkpoint("llama"), method, tmp_path / "none", "no such file"),
        (checkpoint("llama"), method, checkpoint("llama") / "model.safetensors", "not a file of a fitted method"),
    ):
        run.refused(words, "evaluate", model, "-o", tmp_path / "other", *common, "--method", name, "--fitted", file)


def test_a_method_s_answers_are_not_taken_for_the_model_s(
    run: Run, checkpoint: Make, sets: list[str], tmp_path: Path
) -> None:
    plain = ["evaluate", checkpoint("llama"), "-o", tmp_path / "out", *sets, "--max-new-tokens", "2", "--device", "cpu"]
    for method in ("prompt", "scan"):
        own = ["-s", "prompt.strategy=helpful"] if method == "prompt" else []
        run.ok(*plain, "--overwrite", "--method", method, *own)
        run.refused("was made with other settings (method {", *plain)
    run.ok(*plain, "--overwrite")
    made_by = tmp_path / "out" / "made_by.json"
    recorded = json.loads(made_by.read_text())
    made_by.write_text(json.dumps({name: recorded[name] for name in recorded if name not in ("method", "fit")}))
    run.ok(*plain)  # of an earlier version


def test_answers_by_another_fit_of_the_same_settings_are_not_shown_again(
    compare: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, sets: list[str], tmp_path: Path
) -> None:
    compare("--methods", "scan")
    fitted = tmp_path / "out" / "scan" / "fitted.safetensors"
    common = [*sets, "--max-new-tokens", "2", "--device", "cpu", "--method", "scan", "--fitted", fitted]
    evaluate = ["evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *common]
    run.ok(*evaluate)
    run.ok(*evaluate)
    parts, made_by = read_fitted(fitted, {})
    write_fitted(fitted, replace(parts, tensors={name: -tensor for name, tensor in parts.tensors.items()}), made_by)
    run.refused("was made with other settings (fit ", *evaluate)


def test_evaluate_fits_by_itself_and_keeps_it(run: Run, checkpoint: Make, sets: list[str], tmp_path: Path) -> None:
    common = [*sets, "--max-new-tokens", "2", "--device", "cpu", "--method", "scan"]
    run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "out", *common)
    tensors = load_file(tmp_path / "out" / "fitted.safetensors")
    assert tensors["vectors"].shape == tensors["transitions"].shape == (3, 48)
    assert torch.allclose(tensors["vectors"].norm(dim=-1), torch.ones(3))
    for planned in ("prosafeprune", "prompt+prosafeprune"):
        code, _, err = run("evaluate", checkpoint("llama"), "-o", tmp_path / "pruned", *sets, "--method", planned)
        assert (code, "needs --fitted, the file that compare wrote" in " ".join(err.split())) == (2, True)
