"""The two ways out of a quantised base model: an adapter for it as it is, or a pruned model in 16 bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fixture_types import Run
from helpers.prune_runs import SETTINGS, prune
from helpers.quantised_checkpoints import KINDS, mxfp4_checkpoint, quantised_checkpoint
from safetensors.torch import load_file

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import find_unquantised
from prosafeprune.report.record import read_record


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def require_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def require_dequantised_way_out(
    quantised: Path, dense: Path, files: dict[str, str], tmp_path: Path, **settings: Any
) -> None:
    """Prune both, the first with ``--dequantise``: the results must be equal."""
    before = model_hash(quantised)
    expected = prune(dense, tmp_path / "expected", files, **settings)
    result = prune(quantised, tmp_path / "sixteen", files, dequantise=True, **settings)
    require_equal(weights(tmp_path / "sixteen"), weights(tmp_path / "expected"))
    assert result.record.edited_tensors == expected.record.edited_tensors
    assert result.record.model.sha256 == before == model_hash(quantised)
    assert "quantization_config" not in json.loads((tmp_path / "sixteen" / "config.json").read_text())
    stored, written = weights(quantised), weights(tmp_path / "sixteen")
    untouched = [name for name in written if name in stored and name not in result.record.edited_tensors]
    untouched = [name for name in untouched if not name.endswith("_proj.weight")]
    assert len(untouched) > 5
    assert all(torch.equal(written[name], stored[name]) for name in untouched)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_out_are_the_edit_of_the_dequantised_weights(
    kind: str, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where bitsandbytes is installed, its models run as they are stored: tests/jobs/test_quantised.py.
    monkeypatch.setattr("prosafeprune.model.source.find_spec", lambda _: None)
    quantised, dense = quantised_checkpoint(tmp_path, kind)
    require_dequantised_way_out(quantised, dense, prompt_files, tmp_path)
    prune(quantised, tmp_path / "adapter", prompt_files, format="adapter")
    base = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert (tmp_path / "adapter" / base).resolve() == quantised
    found, adapter = weights(dense), weights(tmp_path / "adapter")
    for name in list(adapter):
        if name.endswith(".lora_B.weight"):
            edit = adapter[name] @ adapter[name.replace("lora_B", "lora_A")]
            found[name.removeprefix("base_model.model.").replace("lora_B.", "")] += edit
    require_equal(found, weights(tmp_path / "expected"))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mxfp4", "fp8"])
def test_a_quantised_mixture_of_experts_is_dequantised(kind: str, prompt_files: dict[str, str], tmp_path: Path) -> None:
    is_gpt_oss = kind == "mxfp4"
    quantised, dense = mxfp4_checkpoint(tmp_path) if is_gpt_oss else quantised_checkpoint(tmp_path, kind, "qwen3_moe")
    require_dequantised_way_out(quantised, dense, prompt_files, tmp_path, rank=2)
    assert any(count.pruned for count in read_record(tmp_path / "sixteen").experts)


@pytest.mark.long
def test_the_adapter_of_a_quantised_model_becomes_a_checkpoint_in_16_bits(
    prompt_files: dict[str, str], tmp_path: Path
) -> None:
    quantised, dense = quantised_checkpoint(tmp_path, "fp8")
    prune(dense, tmp_path / "expected", prompt_files)
    prune(quantised, tmp_path / "sixteen", prompt_files, dequantise=True)
    assert "an ordinary checkpoint in 16 bits" in (tmp_path / "sixteen" / "README.md").read_text()
    assert "at the same cost" in (tmp_path / "expected" / "README.md").read_text()
    prune(dense, tmp_path / "dense_adapter", prompt_files, format="adapter")
    prune(quantised, tmp_path / "adapter", prompt_files, format="adapter")
    require_equal(weights(tmp_path / "adapter"), weights(tmp_path / "dense_adapter"))
    with pytest.raises(InputError, match="not --format adapter"):
        prune(quantised, tmp_path / "both", prompt_files, dequantise=True, format="adapter")
    with pytest.raises(InputError, match=r"\(fp8\)\. Choose --dequantise"):
        prosafeprune.apply(tmp_path / "adapter", quantised, tmp_path / "no", progress=False)
    applied = {"progress": False, "dequantise": True, "max_safety_drop": 100, "accept_unsafe": True}
    prosafeprune.apply(tmp_path / "adapter", quantised, tmp_path / "applied", **applied)
    require_equal(weights(tmp_path / "applied"), weights(tmp_path / "sixteen"))
    assert (
        sorted(file.name for file in tmp_path.iterdir() if file.name.startswith(".")) == []
    )  # nothing converted is left


@pytest.mark.long
def test_a_quantised_model_larger_than_memory_is_dequantised_and_streamed(
    prompt_files: dict[str, str], tmp_path: Path
) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "awq")
    prune(quantised, tmp_path / "sixteen", prompt_files, dequantise=True)
    of_measuring = ("max_safety_drop", "accept_unsafe", "max_new_tokens")
    given = {name: value for name, value in SETTINGS.items() if name not in of_measuring}
    asked = {**given, **prompt_files, "progress": False, "dequantise": True}
    result = prosafeprune.prune_unmeasured(quantised, tmp_path / "low", **asked)
    require_equal(weights(tmp_path / "low"), weights(tmp_path / "sixteen"))
    assert result.record.model.sha256 == model_hash(quantised)


def test_a_quantised_model_is_evaluated_dequantised(run: Run, tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "compressed_int4")
    command = ["evaluate", quantised, "-o", tmp_path / "out", "--max-new-tokens", 1, "--device", "cpu", "--draft"]
    code, out, err = run(*command)
    assert (code, "42 matrices" in err or "21 matrices" in err) == (0, True), out + err


def test_without_a_way_out_a_quantised_model_is_one_line(run: Run, tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "fp8")
    code, _, err = run("prune", quantised, "-o", tmp_path / "out", "--layers", 1)
    assert code == 2
    assert "quantised (fp8). Choose --format adapter" in err.replace("\n", " ")
    assert "--dequantise" in err
    assert not (tmp_path / "out").exists()
    low = run.refused(
        "Choose --dequantise",
        "prune",
        quantised,
        "-o",
        tmp_path / "out",
        "--layers",
        1,
        "--memory",
        "low",
        "--unmeasured",
    )
    assert "--format" not in low  # it writes no adapters
    with pytest.raises(InputError, match=r"is quantised \(fp8\), and a judge"):
        find_unquantised(str(quantised))


def test_a_dry_run_of_a_quantised_model_counts_it_in_16_bits(run: Run, tmp_path: Path) -> None:
    quantised, _ = quantised_checkpoint(tmp_path, "mlx")
    options: list[Any] = ["--layers", 1, "--dequantise", "--dry-run", "-o", tmp_path / "out"]
    out, _ = run.ok("prune", quantised, *options)
    assert "Memory: about" in out
