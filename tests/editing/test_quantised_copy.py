"""Edits of a model that runs as a copy in 8 or 4 bits, and is edited by its stored weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.quantised_checkpoints import dense_checkpoint
from helpers.random_edits import random_edits
from safetensors.torch import load_file, save_file

from prosafeprune.checkpoint.names import with_originals
from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.editing.edits import PruningEdit, apply_edits
from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.submodule import dense_weight, is_quantised
from prosafeprune.progress import SilentReporter, ignore

pytest.importorskip("bitsandbytes")
ERRORS = {"8bit": 0.02, "4bit": 0.15}
"""Relative error of a matrix that is quantised so, at most."""
IDS = torch.arange(5, 45).view(2, 20)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense_checkpoint(tmp_path_factory.mktemp("stored") / "model", inner=128)


@pytest.fixture(params=["8bit", "4bit"])
def loaded(stored: Path, request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(stored, "tiny", SilentReporter(), device="cpu", load=request.param)


def edits_of(loaded: LoadedModel, folder: Path) -> list[PruningEdit]:
    """Return random edits of layer 1, made of the stored weights."""
    named = {one.name: one for one in with_originals(find_anatomy(loaded.model), folder, loaded.run_dtype).submodules}
    return [replace(edit, submodule=named[edit.submodule.name]) for edit in random_edits(loaded.model, [1])]


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = loaded.model(IDS).logits
    return found


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_the_copy_has_quantised_matrices_and_edits_have_the_stored_ones(loaded: LoadedModel, stored: Path) -> None:
    assert loaded.load is not None
    weights = load_file(stored / "model.safetensors")
    anatomy = with_originals(find_anatomy(loaded.model), stored, loaded.run_dtype)
    for submodule in anatomy.submodules:
        assert is_quantised(submodule.stored)
        assert torch.equal(submodule.weight(), weights[submodule.parameter_name].float())
        assert 0 < error(dense_weight(submodule.module), submodule.weight()) < ERRORS[loaded.load]
    assert torch.equal(loaded.model.get_input_embeddings().weight, weights["model.embed_tokens.weight"])


@pytest.mark.parametrize("ran_before", [True, False])
def test_an_edit_in_memory_is_that_of_the_stored_weight_quantised_and_is_undone_to_the_bit(
    loaded: LoadedModel, stored: Path, ran_before: bool
) -> None:
    assert loaded.load is not None
    fresh = load_model(stored, "tiny", SilentReporter(), device="cpu", load=loaded.load)
    before = logits(fresh)
    if ran_before:
        assert torch.equal(logits(loaded), before)
    edits = edits_of(loaded, stored)
    with apply_edits(edits):
        changed = logits(loaded)
        for edit in edits:
            weight, found = edit.submodule.weight(), dense_weight(edit.submodule.module)
            assert error(found, edit.edited(weight)) < ERRORS[loaded.load]
            assert error(found, edit.edited(weight)) < 0.8 * error(found, weight)
    assert not torch.allclose(changed, before)
    assert torch.equal(logits(loaded), before)


def test_what_is_measured_is_the_quantised_copy_of_what_is_written(
    loaded: LoadedModel, stored: Path, tmp_path: Path
) -> None:
    before = logits(loaded)
    edits = edits_of(loaded, stored)
    written = EditedTensors(stored, locate_tensors(stored, [edit.submodule for edit in edits]), edits)
    with pytest.raises(RuntimeError):
        _ = written.sha256
    written.apply_in_memory(ignore)
    digest = written.sha256
    written.apply_in_memory(ignore)  # from the stored weights, so that nothing changes
    assert written.sha256 == digest
    measured = logits(loaded)
    with written.undone_in_memory():
        assert torch.equal(logits(loaded), before)
    assert torch.equal(logits(loaded), measured)
    with apply_edits(edits):  # as a search measures them
        torch.testing.assert_close(logits(loaded), measured, rtol=1e-5, atol=1e-5)

    written.write(tmp_path, ignore)
    base, pruned = load_file(stored / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    for edit in edits:
        name = edit.submodule.parameter_name
        torch.testing.assert_close(pruned[name].float(), edit.edited(base[name].float()), rtol=1e-2, atol=1e-5)
    edited = {edit.submodule.parameter_name for edit in edits}
    assert all(torch.equal(pruned[name], base[name]) for name in base.keys() - edited)
    again = load_model(tmp_path, "tiny", SilentReporter(), device="cpu", load=loaded.load)
    assert torch.equal(logits(again), measured)


def test_a_matrix_of_another_model_is_no_original(loaded: LoadedModel, stored: Path, tmp_path: Path) -> None:
    weights = load_file(stored / "model.safetensors")
    first, second = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    save_file({**weights, first: weights[second].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up_proj: no single tensor .* Leave out --load"):
        with_originals(find_anatomy(loaded.model), tmp_path, loaded.run_dtype)


def test_rows_that_are_no_blocks_are_one_line_before_the_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.model.loading._read_weights", lambda *_: pytest.fail("the weights were read"))
    odd = dense_checkpoint(tmp_path / "odd")
    with pytest.raises(InputError, match=r"multiples of 64, and those of .*down_proj have 96 numbers. Use --load 8bit"):
        load_model(odd, "tiny", SilentReporter(), device="cpu", load="4bit")
    with pytest.raises(pytest.fail.Exception):
        load_model(odd, "tiny", SilentReporter(), device="cpu", load="8bit")


def test_without_the_library_it_is_one_line(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        return None

    monkeypatch.setattr("prosafeprune.model.quantised_copy.find_spec", none)
    with pytest.raises(InputError, match=r"--load 4bit: needs bitsandbytes\. pip install 'prosafeprune\[quantised\]'"):
        load_model(stored, "tiny", SilentReporter(), device="cpu", load="4bit")
