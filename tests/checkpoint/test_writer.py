"""Tensors in place, names on disk, and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.fixture_types import Make
from helpers.tiny_models import make_model, save_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.checkpoint.names import StoredNames
from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.checkpoint.writer import copy_checkpoint
from prosafeprune.errors import InputError
from prosafeprune.files.staging import MANIFEST, check_output, scratch_folder, staged_folder
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.submodule import Submodule


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_tensor_is_read_and_overwritten_in_place(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: torch.randn(3, 5).to(dtype) for name in "abc"}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    places = stored_tensors(tmp_path)
    assert torch.equal(places["b"].read(), tensors["b"])
    new = torch.randn(5, 3).to(dtype).T  # not contiguous
    places["b"].overwrite(new, tmp_path / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    assert torch.equal(after["b"], new)
    assert torch.equal(after["a"], tensors["a"])
    assert torch.equal(after["c"], tensors["c"])


def test_overwriting_refuses_another_shape_or_dtype(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    place = stored_tensors(tmp_path)["a"]
    for wrong in (torch.zeros(4), torch.zeros(2, 2, dtype=torch.float16)):
        with pytest.raises(ValueError, match="expected F32"):
            place.overwrite(wrong, tmp_path / "model.safetensors")


def test_a_shard_cut_short_is_one_clear_line(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(20, 20)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    for length in (4, 30, len(whole) - 8):
        (tmp_path / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(InputError, match="Fetch the file again"):
            stored_tensors(tmp_path)


def test_names_are_matched_by_ending_shape_and_values(tmp_path: Path) -> None:
    model = make_model("llama")
    weight = model.model.layers[1].mlp.up_proj.weight.detach()
    twin = model.model.layers[1].mlp.gate_proj.weight.detach()
    save_file(
        {
            "language_model.layers.1.mlp.up_proj.weight": weight.clone(),
            "vision.layers.1.mlp.up_proj.weight": twin.clone(),
        },
        tmp_path / "model.safetensors",
    )
    submodule = up_projection(model, 1)
    names = StoredNames(stored_tensors(tmp_path))
    assert names.find(submodule).name == "language_model.layers.1.mlp.up_proj.weight"
    with pytest.raises(InputError, match="cannot be written back"):
        names.find(up_projection(model, 2))
    with torch.no_grad():
        weight += 1
    with pytest.raises(InputError, match="cannot be written back"):
        StoredNames(stored_tensors(tmp_path)).find(submodule)


def test_a_matrix_renamed_behind_its_layer_is_found_by_its_values(tmp_path: Path) -> None:
    model = make_model("llama")
    layers = model.model.layers
    tensors = {f"model.layers.{i}.mlp.shared_mlp.w3.weight": layers[i].mlp.up_proj.weight.detach() for i in (1, 2)}
    tensors["model.layers.1.mlp.shared_mlp.w1.weight"] = layers[1].mlp.gate_proj.weight.detach()
    tensors["model.layers.2.mlp.shared_mlp.w1.weight"] = layers[2].mlp.up_proj.weight.detach().clone()
    save_file(tensors, tmp_path / "model.safetensors")
    names = StoredNames(stored_tensors(tmp_path))
    assert names.find(up_projection(model, 1)).name == "model.layers.1.mlp.shared_mlp.w3.weight"
    with pytest.raises(InputError, match="cannot be written back"):  # two tensors fit
        names.find(up_projection(model, 2))


def up_projection(model: Any, layer: int) -> Submodule:
    return next(one for one in find_anatomy(model).of_layer(layer) if one.kind == "up")


def test_gpt2_files_without_the_prefix_are_understood(tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "gpt2", "gpt2")
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(source / "model.safetensors").items()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    submodule = next(one for one in find_anatomy(model).of_layer(2) if one.kind == "k")
    assert StoredNames(stored_tensors(source)).find(submodule).name == "h.2.attn.c_attn.weight"


def test_a_staged_folder_appears_at_the_end_alone(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with staged_folder(output, overwrite=False) as staging:
        (staging / "file").write_text("x")
        assert not output.exists()
    assert (output / "file").read_text() == "x"
    with pytest.raises(KeyError), staged_folder(tmp_path / "other", overwrite=False) as staging:
        (staging / "file").write_text("x")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_overwritten_folder_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with staged_folder(output, overwrite=True) as staging:
        (staging / "prosafeprune.json").write_text("x")
    with staged_folder(output, overwrite=True) as staging:
        (staging / "new").write_text("y")
    assert {path.name for path in output.iterdir()} == {"new", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(InputError, match="exists already"), staged_folder(output, overwrite=False) as staging:
        (staging / "new").write_text("y")
        output.mkdir()
        (output / "thesis.txt").write_text("x")
    assert [path.name for path in output.iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_when_the_last_rename_fails_the_old_folder_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    with staged_folder(output, overwrite=False) as staging:
        (staging / "prosafeprune.json").write_text("old")
    rename = Path.rename

    def fail_at_the_end(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_at_the_end)
    with pytest.raises(InputError, match="Input/output error"), staged_folder(output, overwrite=True):
        pass
    assert (output / "prosafeprune.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folders_of_dead_runs_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    import socket

    dead = tmp_path / f".out.partial-{socket.gethostname()}-{2**22 + 1}"
    alive = tmp_path / f".out.partial-{socket.gethostname()}-{os.getppid()}"
    elsewhere = tmp_path / ".out.partial-another.machine-77"
    earlier_life = tmp_path / f".out.converted-{socket.gethostname()}-{os.getpid()}"
    for folder in (dead, alive, elsewhere, earlier_life):
        folder.mkdir()
    with scratch_folder(tmp_path / "out", "partial"):
        pass
    assert not dead.exists()
    assert not earlier_life.exists()
    assert alive.exists()
    assert elsewhere.exists()


def test_a_run_may_hold_a_converted_source_while_it_writes(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "out", "converted") as converted:
        (converted / "model").write_text("x")
        with staged_folder(tmp_path / "out", overwrite=False) as staging:
            (staging / "model").write_text((converted / "model").read_text())
        assert converted.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_output_is_checked_beforehand(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    check_output(tmp_path / "new" / "deep", source, 10, overwrite=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="exists already"):
        check_output(tmp_path / "full", source, 10, overwrite=False)
    with pytest.raises(InputError, match="not written by prosafeprune"):
        check_output(tmp_path / "full", source, 10, overwrite=True)
    with pytest.raises(InputError, match="Free some space"):
        check_output(tmp_path / "huge", source, 10**18, overwrite=False)
    with pytest.raises(InputError, match="parent folder"):
        check_output(tmp_path / "full" / "config.json" / "out", source, 10, overwrite=False)


@pytest.mark.parametrize("place", [".", "source", "source/pruned"])
def test_the_source_is_never_written_over_or_into(place: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match="base model's folder"):
        check_output((tmp_path / place).resolve(), tmp_path / "source", 10, overwrite=True)


def test_other_weights_on_disk_are_never_taken_for_the_ones_meant(checkpoint: Make, tmp_path: Path) -> None:
    """A folder whose weights are not those in memory must not be edited."""
    places = stored_tensors(checkpoint("llama"))
    other = make_model("llama", seed=1)
    with pytest.raises(InputError, match="cannot be written back"):
        StoredNames(places).find(up_projection(other, 0))


@pytest.mark.parametrize("name", ["model.ckpt", "model.PKL", "pytorch_model.BIN", "onnx/model.onnx_data", "rust.ot"])
def test_weights_in_other_formats_are_not_copied(name: str, checkpoint: Make, tmp_path: Path) -> None:
    """They are those of the base model."""
    source = Path(shutil.copytree(checkpoint("llama"), tmp_path / "source"))
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_bytes(b"weights")
    (output := tmp_path / "out").mkdir()
    copy_checkpoint(source, output)
    assert (output / "model.safetensors").exists() and not (output / name).exists()


def test_a_model_in_read_only_folders_is_copied_into_folders_that_can_be_written(
    checkpoint: Make, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(checkpoint("llama"), tmp_path / "source"))
    (source / "templates").mkdir()
    (source / "templates" / "other.jinja").write_text("{{ messages }}")
    folders = [source, source / "templates"]
    for file in source.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    source.chmod(0o555)
    (output := tmp_path / "out").mkdir()
    try:
        copy_checkpoint(source, output)
    finally:
        for folder in folders:  # pytest removes them
            folder.chmod(0o755)
    copied = {path.relative_to(output).as_posix() for path in output.rglob("*")}
    assert copied == {path.relative_to(source).as_posix() for path in source.rglob("*")}
    assert all(path.stat().st_mode & 0o200 for path in [output, *output.rglob("*")])


def test_a_full_disk_ends_a_copy_at_once(checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(_: Path, target: Path) -> None:
        tried.append(target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", full)
    output = tmp_path / "out"
    with (
        pytest.raises(InputError, match=r"out: could not be written \(No space left on device\)"),
        staged_folder(output, overwrite=False) as staging,
    ):
        copy_checkpoint(checkpoint("llama"), staging)
    assert len(tried) == 1 and list(tmp_path.iterdir()) == []
