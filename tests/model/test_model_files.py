"""Foreign model folders: whatever is wrong with their files is one line, before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.fixture_types import Make
from helpers.sparse_checkpoints import sparse_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.checkpoint.writer import copy_checkpoint
from prosafeprune.errors import InputError
from prosafeprune.model.device_placement import weight_bytes
from prosafeprune.model.loading import stored_dtype
from prosafeprune.model.model_files import checkpoint_bytes, require_bounded_config
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import find_source, is_adapter_folder, read_config
from prosafeprune.setup.model_size import ModelShape


@pytest.fixture
def folder(checkpoint: Make, tmp_path: Path) -> Path:
    """A copy of a small sharded checkpoint."""
    copy = tmp_path / "model"
    shutil.copytree(checkpoint("llama", max_shard_size="60KB"), copy)
    return copy


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        find_source(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size"])
def test_numbers_beyond_any_model_are_refused_before_anything_is_made(key: str, folder: Path) -> None:
    edit_json(folder / "config.json", **{key: 10**13})
    assert f"{key} = 10000000000000, more than any model has" in refused(folder)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"num_labels": 10**10}, "num_labels"),
        ({"attn_implementation": "org/kernel"}, "names code on the hub"),
        ({"text_config": {"_attn_implementation": {"": "org/kernel@main"}}}, "names code on the hub"),
        ({"experts_implementation": "org/kernel"}, "names code on the hub"),
        ({"rope_theta": float("nan")}, "rope_theta = NaN"),
        ({"rope_parameters": {"factors": [1.0, float("nan")]}}, "factors = NaN"),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("inf")}}, "factor = inf, which no model has"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": -1}}, "factor = -1, which no model has"),
        ({"rope_theta": 0}, "rope_theta = 0, which no model has"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0, which no model has"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1, which no model has"),
        ({"max_position_embeddings": 0}, "max_position_embeddings = 0, which no model has"),
    ],
)
def test_configs_that_libraries_act_on(entry: dict[str, Any], words: str, folder: Path) -> None:
    before = json.loads((folder / "config.json").read_text())
    edit_json(folder / "config.json", **entry)
    assert words in refused(folder)
    edit_json(folder / "config.json", **{name: before.get(name) for name in entry})
    edit_json(folder / "config.json", attn_implementation="sdpa", time_step_limit=[0.0, float("inf")])
    find_source(str(folder))


@pytest.mark.parametrize("layers", [10**9, 10_001])
def test_a_billion_layers_are_refused(layers: int, folder: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=layers)
    assert "num_hidden_layers" in refused(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[1]", "does not hold a JSON object"),
        ("{", "not valid JSON"),
        ('{"a": ' * 60 + "1" + "}" * 60, "nested too deep"),
    ],
)
def test_odd_json_is_one_line(text: str, words: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    assert words in refused(folder)


def test_a_shard_index_is_checked(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    for shard, words in (
        ("../elsewhere.safetensors", "not a file of the folder"),
        ("/etc/passwd", "not a file of the folder"),
        ("model.bin", "not a file of the folder"),
        ("model-9.safetensors", "is missing"),
    ):
        index.write_text(json.dumps({**good, "weight_map": {**good["weight_map"], "lm_head.weight": shard}}))
        assert words in refused(folder)
    for odd in ({"weight_map": [1]}, {"weight_map": {"a": 1}}, {}):
        index.write_text(json.dumps(odd))
        assert "no map from tensors to shards" in refused(folder)
    for odd in ({}, {"metadata": None}):
        index.write_text(json.dumps({"weight_map": good["weight_map"], **odd}))
        assert "has no metadata" in refused(folder)
    shards = sorted(set(good["weight_map"].values()))
    other = next(one for one in shards if one != good["weight_map"]["lm_head.weight"])
    for odd in ({"model.ghost.weight": shards[0]}, {"lm_head.weight": other}):
        index.write_text(json.dumps({**good, "weight_map": {**good["weight_map"], **odd}}))
        assert f"names 1 tensor that its shard does not hold: {next(iter(odd))!r}" in refused(folder)
    ghosts = {f"ghost.{number}": shards[0] for number in range(2)}
    index.write_text(json.dumps({**good, "weight_map": {**good["weight_map"], **ghosts}}))
    assert "names 2 tensors that their shards do not hold: 'ghost.0'" in refused(folder)
    index.unlink()  # some loaders would take all shards, others none
    assert "neither model.safetensors nor model.safetensors.index.json" in refused(folder)


def test_links_devices_pipes_and_folders_in_place_of_files_are_refused(folder: Path) -> None:
    extra = folder / "notes.txt"
    for make, words in (
        (lambda: extra.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda: os.mkfifo(extra), "is not a regular file"),
        (lambda: extra.symlink_to(folder / "nowhere"), "is a broken link"),
        (lambda: extra.symlink_to(folder.parent), "link to a folder"),
        (extra.mkdir, "is a folder, not a file"),
    ):
        make()
        assert words in refused(folder)
        extra.rmdir() if extra.is_dir() and not extra.is_symlink() else extra.unlink()
    extra.symlink_to(folder / "config.json")
    find_source(str(folder))


def test_a_link_to_a_persons_own_file_is_refused(folder: Path, tmp_path: Path) -> None:
    """It would be copied into the pruned model, and published with it."""
    (tmp_path / "id_rsa").write_text("a key")
    extra = folder / "notes.txt"
    extra.symlink_to(tmp_path / "id_rsa")
    assert "is a link to a file elsewhere" in refused(folder)
    extra.unlink()
    shard = next(folder.glob("*.safetensors"))
    shard.rename(tmp_path / shard.name)
    shard.symlink_to(tmp_path / shard.name)  # weights on another disk
    find_source(str(folder))


def test_a_file_that_cannot_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the run when the pruned model is written. The tests may run as root, who can read all."""
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name != "tokenizer.json")
    assert "tokenizer.json cannot be read. Change its permissions." in refused(folder)


def test_quantised_tensors_of_which_the_config_says_nothing_are_refused(folder: Path) -> None:
    """Only while it was loaded were their matrices found to be missing, and a dry run found nothing."""
    shard = min(folder.glob("*.safetensors"))
    name = "model.layers.1.mlp.up_proj.qweight"
    save_file({**load_file(shard), name: torch.zeros(2, 2, dtype=torch.int32)}, shard)
    assert f"'{name}' is part of a quantised matrix" in refused(folder)


def test_the_hubs_cache_is_made_of_links(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "repository" / "blobs", tmp_path / "repository" / "snapshots" / "0"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", file.name))
    find_source(str(snapshot))


def test_an_index_of_weights_that_are_left_out_is_left_out_too(folder: Path, checkpoint: Make, tmp_path: Path) -> None:
    shutil.copy(checkpoint("llama") / "model.safetensors", folder)
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    (tmp_path / "out").mkdir()
    copy_checkpoint(find_source(str(folder)).path, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").glob("*index*")] == []
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 1


def test_an_adapter_folder_that_holds_the_bases_config_is_an_adapter(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    shutil.copy(folder / "config.json", adapter)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert is_adapter_folder(adapter)
    (folder / "adapter_config.json").write_text("{}")
    assert not is_adapter_folder(folder)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["num_hidden_layers", "text_config", "layer_types", "a"]), VALUES))
def test_any_config_passes_or_is_one_line(config: dict[str, Any]) -> None:
    try:
        require_bounded_config(config, "a model")
    except InputError as error:
        assert str(error).startswith("a model: ")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4) | VALUES, st.integers(0, 2**64 - 1) | st.none())
def test_any_shard_header_is_read_or_is_one_line(tmp_path: Path, header: Any, length: int | None) -> None:
    content = json.dumps(header).encode()
    size = len(content) if length is None else length
    (tmp_path / "a.safetensors").write_bytes(size.to_bytes(8, "little") + content + bytes(40))
    try:
        read_shard_header(tmp_path / "a.safetensors")
    except InputError as error:
        assert "cannot be read as safetensors" in str(error)
        assert "\n" not in str(error)


def test_places_outside_the_data_are_refused(tmp_path: Path) -> None:
    odd = (([0.0, 4], [1]), ([False, 4], [1]), ([0, 4], [True]))  # numbers to Python, and no places
    for offsets, shape in (([-9, 4], [1]), ([8, 4], [1]), ([0, 4], [-1]), ([0, 4], ["x"]), ([0, 99], [1]), *odd):
        content = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
        (tmp_path / "a.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + bytes(40))
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            read_shard_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("second", "size", "words"),
    [
        (([1], [4, 8]), 8, None),
        (([0], [4, 4]), 4, None),
        (([1], [4, 8]), 12, "4 bytes after the last tensor"),
        (([1], [8, 12]), 12, "the data of b do not start where"),
        (([1], [0, 4]), 4, "the data of b do not start where"),
        (([2], [4, 8]), 8, "the data of b do not have the size of its shape"),
    ],
)
def test_tensors_must_fill_their_file(
    second: tuple[list[int], list[int]], size: int, words: str | None, tmp_path: Path
) -> None:
    """The library refuses such files; with --memory low they would be copied, and nothing would load the output."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = {"a": entry, "b": {**entry, "shape": second[0], "data_offsets": second[1]}}
    content, file = json.dumps(header).encode(), tmp_path / "a.safetensors"
    file.write_bytes(len(content).to_bytes(8, "little") + content + bytes(size))
    if words is None:
        assert load_file(file).keys() == read_shard_header(file).tensors.keys()
        return
    with pytest.raises(SafetensorError):
        load_file(file)
    with pytest.raises(InputError, match=words):
        read_shard_header(file)


def test_weights_in_another_form_take_no_room_in_the_output_and_in_memory(folder: Path) -> None:
    """Mistral's folders also hold consolidated.safetensors, and older ones pickles."""
    before = checkpoint_bytes(folder), weight_bytes(folder, torch.float32), stored_dtype(folder)
    whole = {name: tensor.read() for name, tensor in stored_tensors(folder).items()}
    save_file({name: tensor.half() for name, tensor in whole.items()}, folder / "consolidated.safetensors")
    save_file({name: tensor.half() for name, tensor in whole.items()}, folder / "model.fp16.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"weights" * 10_000)
    assert (checkpoint_bytes(folder), weight_bytes(folder, torch.float32), stored_dtype(folder)) == before
    size = ModelShape.of_folder(folder, read_config(folder, "m")).size
    assert size.weight_bytes == sum(tensor.nbytes for tensor in whole.values())


def test_the_dtype_of_a_file_that_cannot_be_mapped_is_read_from_its_header(tmp_path: Path) -> None:
    tensors = {"model.layers.0.weight": ("BF16", (2**19, 2**20)), "model.norm.weight": ("F32", (8,))}  # 1.1 TB
    assert stored_dtype(sparse_checkpoint(tmp_path / "large", tensors)) == torch.bfloat16
    words = {"layers.0.qweight": ("I32", (64, 64)), "layers.0.scales": ("F16", (2, 64))}
    assert stored_dtype(sparse_checkpoint(tmp_path / "quantised", words)) == torch.float16
    assert stored_dtype(sparse_checkpoint(tmp_path / "none", {"layers.0.qweight": ("I32", (8, 8))})) == torch.float32
