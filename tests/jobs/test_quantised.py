"""A base quantised by bitsandbytes: left as it is, and given an adapter."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.fixture_types import Run
from helpers.quantised_checkpoints import dense_checkpoint
from helpers.tiny_models import make_model, make_tokenizer, save_checkpoint
from peft import PeftModel

import prosafeprune
from prosafeprune.checkpoint.adapter import LoraAdapter
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.errors import InputError
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.model.source import find_source
from prosafeprune.model.submodule import dense_weight, is_quantised
from prosafeprune.progress import SilentReporter, ignore

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint in 4 bits; widths are multiples of bitsandbytes' blocks."""
    folder = tmp_path_factory.mktemp("quantised")
    dense_checkpoint(folder / "source", inner=128)
    in_four_bits = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "source", quantization_config=in_four_bits, device_map={"": "cpu"}, dtype=torch.float32
    )
    loaded.save_pretrained(folder / "quantised")
    make_tokenizer().save_pretrained(folder / "quantised")
    return folder / "quantised"


@needs_bitsandbytes
def test_a_quantised_matrix_is_read_as_it_is_multiplied_with(quantised: Path) -> None:
    loaded = load_model(quantised, "tiny", SilentReporter(), device="cpu")
    assert loaded.stored_dtype == loaded.run_dtype == torch.float32
    for submodule in find_anatomy(loaded.model).of_layer(1):
        assert is_quantised(submodule.stored)
        weight = dense_weight(submodule.module)
        rows = torch.randn(3, weight.shape[1])
        with torch.no_grad():
            ran = submodule.module(rows)
        # Some CPUs multiply in bfloat16.
        assert (ran - rows @ weight.T).abs().max() < 0.02 * ran.abs().max(), submodule.name
        assert torch.equal(dense_weight(submodule.module), weight)  # also after a run, which may pack it anew
    assert not is_quantised(make_model("llama").lm_head.weight)


@needs_bitsandbytes
def test_the_adapter_of_a_quantised_base_changes_it_by_what_the_edit_takes_away(
    quantised: Path, tmp_path: Path
) -> None:
    loaded = load_model(quantised, "tiny", SilentReporter(), device="cpu")
    edits, expected = [], {}
    torch.manual_seed(1)
    none = EditMeasures(submodule="", kind="", layer=1, stable_rank=1, energy_bound=1, energy=0, harmful_overlap=0)
    for submodule in find_anatomy(loaded.model).of_layer(1):
        weight = submodule.weight()
        left, right = torch.randn(weight.shape[0], 3), torch.randn(weight.shape[0], 3)
        edits.append(PruningEdit(submodule, OverlapOperator(left, right), 0.7, none))
        expected[submodule.module_name] = -0.7 * left @ right.T @ weight
    adapter = LoraAdapter(loaded, find_source(str(quantised), edited=False), {}, edits)
    adapter.write(tmp_path, ignore)
    base = transformers.AutoModelForCausalLM.from_pretrained(quantised)
    model = PeftModel.from_pretrained(base, tmp_path).eval().requires_grad_(False)
    ids = torch.arange(5, 45).view(2, 20)
    with torch.no_grad():
        fresh = model(ids).logits
        loaded.model(ids)
        adapter.apply_in_memory(ignore)  # onto a model that has run already
        torch.testing.assert_close(loaded.model(ids).logits, fresh, atol=1e-4, rtol=1e-4)
    assert len(expected) == 7
    for name, change in expected.items():
        layer: Any = model.base_model.model.get_submodule(name)
        rows = torch.randn(3, change.shape[1])
        with torch.no_grad():
            moved = layer(rows) - layer.base_layer(rows)
        torch.testing.assert_close(moved, rows @ change.T, atol=1e-3, rtol=1e-3)


SETTINGS: dict[str, Any] = {
    "rank": 4,
    "max_new_tokens": 1,
    "max_safety_drop": 100,
    "accept_unsafe": True,
    "device": "cpu",
}


@needs_bitsandbytes
def test_a_quantised_base_is_pruned_by_an_adapter_and_refuses_the_rest(
    quantised: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    settings = {**SETTINGS, **prompt_files, "progress": False}
    with pytest.raises(InputError, match="--format adapter"):
        prosafeprune.prune(quantised, tmp_path / "out", layers=1, **settings)
    result = prosafeprune.prune(quantised, tmp_path / "out", format="adapter", layers=1, **settings)
    assert result.record.benign_divergence.mean > 0
    assert sorted(result.record.edited_tensors)[0] == "model.layers.1.mlp.down_proj.weight"
    with pytest.raises(InputError, match="--dequantise"):
        prosafeprune.apply(tmp_path / "out", quantised, tmp_path / "applied", progress=False)


@pytest.mark.parametrize("method", ["aqlm", "gptq", "bitsandbytes"])
def test_what_cannot_be_run_is_one_line(method: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_checkpoint(tmp_path / "source", "llama")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method}}))
    monkeypatch.setattr("prosafeprune.model.source.find_spec", lambda name: None)
    code, _, err = run("prune", source, "-o", tmp_path / "out", "--format", "adapter", "--layers", 1)
    assert code == 2
    assert ("quantised by aqlm" if method == "aqlm" else f"says {method}, and no tensor is quantised so") in err
    assert not (tmp_path / "out").exists()
