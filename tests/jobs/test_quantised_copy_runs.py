"""Commands with ``--load``: they run on a quantised copy, write to the stored weights, and say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from helpers.fixture_types import Run
from helpers.prune_runs import prune
from helpers.quantised_checkpoints import dense_checkpoint, quantised_checkpoint
from safetensors.torch import load_file

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.jobs import search as searching
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.prepare import prepare_run

pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense_checkpoint(tmp_path_factory.mktemp("stored") / "model", inner=128)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


@pytest.mark.long
@pytest.mark.parametrize("load", ["8bit", "4bit"])
def test_prune_writes_to_the_stored_weights_and_says_what_was_measured(
    load: str, stored: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    exact = prune(stored, tmp_path / "exact", prompt_files)
    result = prune(stored, tmp_path / "out", prompt_files, load=load)
    base, full, out = weights(stored), weights(tmp_path / "exact"), weights(tmp_path / "out")
    assert result.record.edited_tensors == exact.record.edited_tensors
    assert all(torch.equal(out[name], base[name]) for name in base.keys() - set(result.record.edited_tensors))
    names = exact.record.edited_tensors
    changes = [torch.cat([(tensors[name] - base[name]).flatten() for name in names]) for tensors in (full, out)]
    cosine = float(torch.nn.functional.cosine_similarity(*changes, dim=0))
    assert cosine > (0.9 if load == "8bit" else 0.4)
    assert cosine < 1 - 1e-6  # the activations were not those of the stored weights

    record = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    assert record["run"]["load"] == record["recipe"]["load"] == load
    assert exact.record.copy_note is None
    for page in ("README.md", "report.html"):
        assert f"quantised to {load[0]} bits" in (tmp_path / "out" / page).read_text()
        assert "quantised to" not in (tmp_path / "exact" / page).read_text()
    assert f"--load {load}" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.long
def test_an_adapter_is_exact_for_the_stored_weights(stored: Path, prompt_files: dict[str, str], tmp_path: Path) -> None:
    prune(stored, tmp_path / "out", prompt_files, load="4bit")
    result = prune(stored, tmp_path / "adapter", prompt_files, load="4bit", format="adapter")
    assert result.record.run.load == "4bit"
    factors, base, out = (weights(folder) for folder in (tmp_path / "adapter", stored, tmp_path / "out"))
    for name in result.record.edited_tensors:
        a, b = (factors[f"base_model.model.{name.replace('weight', f'lora_{factor}.weight')}"] for factor in "AB")
        torch.testing.assert_close(base[name] + b @ a, out[name], rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_a_quantised_model_is_dequantised_before_it_is_copied(prompt_files: dict[str, str], tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "fp8")
    result = prune(quantised, tmp_path / "out", prompt_files, load="8bit", format="adapter")
    assert result.record.run.load == "8bit"


@pytest.mark.usefixtures("few_prompts")
def test_a_search_on_a_copy_is_another_search_and_makes_a_model(
    run: Run, stored: Path, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "select_point", lambda *_: 1)
    copied = ["--load", "4bit", *search_options]
    run.ok("search", stored, "-o", tmp_path / "search", *copied)
    assert json.loads((tmp_path / "search" / "made_by.json").read_text())["dtype"] == "auto, 4bit"
    assert "quantised to 4 bits (NF4)" in (tmp_path / "search" / "report.html").read_text()
    run.refused("dtype", "search", stored, "-o", tmp_path / "search", *search_options)
    run.ok("prune", stored, "-o", tmp_path / "out", "--search", tmp_path / "search", *copied)
    record = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    base, out = weights(stored), weights(tmp_path / "out")
    assert {name for name in base if not torch.equal(base[name], out[name])} == set(record["edited_tensors"])


def test_evaluate_measures_a_copy_and_says_so(stored: Path, tmp_path: Path, prompt_files: dict[str, str]) -> None:
    files = {f"test_{name}": file for name, file in prompt_files.items() if name in ("harmful", "pseudo_harmful")}
    settings = {"device": "cpu", "max_new_tokens": 2, "benchmark_samples": 4, "progress": False, **files}
    prosafeprune.evaluate(stored, tmp_path / "copy", load="4bit", **settings)
    assert "quantised to 4 bits (NF4)" in (tmp_path / "copy" / "report.html").read_text()
    with pytest.raises(InputError, match="dtype"):
        prosafeprune.evaluate(stored, tmp_path / "copy", **settings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "low", "--unmeasured", "--layers", 1], "one layer in memory at a time"),
        (["--polish"], "polish trains the complete model"),
        (["--load", "2bit"], "8bit"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    options: list[object], words: str, run: Run, stored: Path, tmp_path: Path
) -> None:
    run.refused(words, "prune", stored, "-o", tmp_path / "out", "--load", "8bit", *options)


def test_workers_of_a_cluster_search_no_copy(stored: Path) -> None:
    recipe = make_recipe(model=str(stored), load="8bit")
    with pytest.raises(InputError, match="--load: .* single process. Leave out --ray"):
        prepare_run(recipe, None, False, SilentReporter(), cluster=cast(Any, object()))
