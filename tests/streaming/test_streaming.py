"""One layer in memory at a time, against the whole model in memory: the same shards, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.architectures import ARCHITECTURES, LLAMA
from helpers.fixture_types import Make
from helpers.json_lines import write_prompts
from helpers.tiny_models import CONFIGS, save_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.checkpoint.safetensors_file import stored_tensors
from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.errors import InputError
from prosafeprune.jobs.prune_unmeasured import PruneUnmeasuredResult, run_prune_unmeasured
from prosafeprune.model import storage
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.setup.prepare import given_plan, prepare_run
from prosafeprune.streaming import streamed_checkpoint
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint

WINDOWS = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
WINDOWED = "qwen2, windows"
NAMES = [*CONFIGS, "gemma2", "mistral", WINDOWED]
IN_PARTS = ["mixtral", "qwen2_moe", "gpt_oss", "qwen3_next"]
"""Their experts are slices of larger tensors, aligned in memory otherwise, so that products round otherwise."""


@pytest.fixture(autouse=True)
def windowed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = transformers.Qwen2Config(**LLAMA, use_sliding_window=True, **WINDOWS)
    monkeypatch.setitem(ARCHITECTURES, WINDOWED, lambda: config)


def recipe(source: Path, files: dict[str, str], **settings: Any) -> Any:
    given = {"layers": "1-2", "rank": 4, "strength": 0.8, "pooling": "tail", "device": "cpu", **files, **settings}
    return make_recipe(model=str(source), memory="low", unmeasured=True, **given)


def prune_whole(asked: Any, output: Path) -> Path:
    """Write what the ordinary path writes, without measuring it."""
    prepared, plan = prepare_run(asked, None, False, SilentReporter()), given_plan(asked)
    source = prepared.source.path
    loaded = load_model(source, "tiny", SilentReporter(), device="cpu", dtype=asked.dtype)
    anatomy = find_anatomy(loaded.model)
    _, edits = calibrate(loaded, anatomy, plan, prepared.calibration, asked.batch_size, SilentReporter())
    located = locate_tensors(source, [one for one in anatomy.submodules if one.layer in plan.layers])
    output.mkdir()
    EditedTensors(source, located, edits).write(output, lambda steps: None)
    return output


def prune_streamed(asked: Any, output: Path) -> PruneUnmeasuredResult:
    return run_prune_unmeasured(asked, output)


def assert_same_shards(one: Path, two: Path, source: Path, count: int = 2) -> None:
    shards = sorted(file.name for file in one.glob("*.safetensors"))
    assert shards == sorted(file.name for file in two.glob("*.safetensors"))
    assert len(shards) >= count
    for name in shards:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert any((one / name).read_bytes() != (source / name).read_bytes() for name in shards)


@pytest.mark.long
@pytest.mark.parametrize("architecture", NAMES)
def test_shards_are_those_of_the_ordinary_path_bit_for_bit(
    architecture: str, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source", architecture, max_shard_size="60KB")
    asked = recipe(source, prompt_files)
    result = prune_streamed(asked, tmp_path / "streamed")
    assert_same_shards(prune_whole(asked, tmp_path / "whole"), tmp_path / "streamed", source)
    assert result.record.model.sha256 == model_hash(source)
    assert {one.layer for one in result.record.submodules} == {1, 2}


@pytest.mark.long
@pytest.mark.parametrize("architecture", IN_PARTS)
def test_with_experts_shards_are_those_of_the_ordinary_path_but_for_rounding(
    architecture: str, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source", architecture, max_shard_size="60KB")
    asked = recipe(source, prompt_files)
    result = prune_streamed(asked, tmp_path / "streamed")
    whole, edited = prune_whole(asked, tmp_path / "whole"), set()
    for file in sorted(whole.glob("*.safetensors")):
        one, two, before = load_file(file), load_file(tmp_path / "streamed" / file.name), load_file(source / file.name)
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=5e-6)
            if not torch.equal(two[name], before[name]):
                edited.add(name)
    assert edited == set(result.record.edited_tensors)
    assert sum(one.pruned for one in result.record.experts) > 0


@pytest.mark.long
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "float32"},
        {"batch_size": 7, "pooling": "sequence"},
        {"layers": "0,2", "strength": (0.5, 0.9), "pooling": "user"},
    ],
    ids=["as stored", "run in float32", "small batches", "layers apart"],
)
def test_in_bfloat16_and_with_other_settings_too(
    settings: dict[str, Any], checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = checkpoint("gemma3", torch.bfloat16, max_shard_size="60KB")
    asked = recipe(source, prompt_files, **settings)
    prune_streamed(asked, tmp_path / "streamed")
    assert_same_shards(prune_whole(asked, tmp_path / "whole"), tmp_path / "streamed", source)


def test_spilled_states_change_nothing(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = checkpoint("llama", max_shard_size="60KB")
    asked = recipe(source, prompt_files)
    prune_streamed(asked, tmp_path / "memory")
    monkeypatch.setattr(storage, "KEPT_IN_MEMORY", 0)
    spilled: list[Any] = []
    memmap = storage.np.memmap
    monkeypatch.setattr(storage.np, "memmap", lambda *given, **how: spilled.append(how) or memmap(*given, **how))
    prune_streamed(asked, tmp_path / "spilled")
    assert len(spilled) == 1
    assert_same_shards(tmp_path / "memory", tmp_path / "spilled", source)


def test_prompts_that_share_no_prefix(checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        name: write_prompts(tmp_path / f"{name}.jsonl", (f"{name} {number}" for number in range(6)))
        for name in ("benign", "harmful", "pseudo_harmful")
    }
    monkeypatch.setattr("helpers.tiny_models.TEMPLATE", "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}")
    source = save_checkpoint(tmp_path / "source", "llama", max_shard_size="60KB")
    asked = recipe(source, files)
    result = prune_streamed(asked, tmp_path / "streamed")
    assert result.record.run.shared_head_tokens == 0
    assert_same_shards(prune_whole(asked, tmp_path / "whole"), tmp_path / "streamed", source)


def test_names_on_disk_may_differ_from_those_in_memory(prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", "gpt2")
    tensors = {name.removeprefix("transformer."): one for name, one in load_file(source / "model.safetensors").items()}
    tensors["h.1.attn.bias"] = torch.ones(1, 1, 8, 8)  # old files hold masks that no parameter comes from
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    asked = recipe(source, prompt_files)
    result = prune_streamed(asked, tmp_path / "streamed")
    assert "h.2.mlp.c_fc.weight" in result.record.edited_tensors
    assert_same_shards(prune_whole(asked, tmp_path / "whole"), tmp_path / "streamed", source, count=1)


def test_everything_but_the_shards_card_and_record_is_copied(prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", "llama", max_shard_size="60KB")
    (source / "pytorch_model.bin").write_bytes(b"old")
    prune_streamed(recipe(source, prompt_files), tmp_path / "out")
    names = {file.name for file in source.iterdir()} - {"pytorch_model.bin"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names | {".prosafeprune.files", "prosafeprune.json"}
    for name in ("config.json", "tokenizer.json", "model.safetensors.index.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").num_parameters() > 0


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"),
            "1 tensors are missing .* such as model.layers.1.mlp.up_proj",
        ),
        (lambda tensors: tensors.pop("model.embed_tokens.weight"), "such as model.embed_tokens.weight"),
        (lambda tensors: tensors["model.layers.0.mlp.up_proj.weight"].fill_(float("nan")), "holds NaN"),
        (lambda tensors: tensors["model.embed_tokens.weight"].fill_(float("inf")), "holds NaN or infinite"),
        (lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.ones(2, 2)}), "wrong shape"),
        (
            lambda tensors: tensors.update({"model.embed_tokens.weight": torch.ones(2, 2)}),
            "wrong shape, such as model.embed",
        ),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(0)}), "wrong shape, such as model.norm"),
        (lambda tensors: tensors.pop("model.norm.weight"), "1 tensors are missing .* such as model.norm"),
        (lambda tensors: tensors.pop("lm_head.weight"), "1 tensors are missing .* such as lm_head"),
    ],
)
def test_damaged_checkpoints_leave_nothing_behind(
    damage: Callable[[dict[str, torch.Tensor]], object], told: str, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = save_checkpoint(tmp_path / "source", "llama")
    tensors = load_file(source / "model.safetensors")
    damage(tensors)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=told):
        prune_streamed(recipe(source, prompt_files), tmp_path / "place" / "out")
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize(
    ("architecture", "name", "told"),
    [
        ("llama", "model.layers.2.mlp.up_proj.weight", "such as model.layers.2.mlp.up_proj.weight"),
        ("mixtral", "model.layers.2.block_sparse_moe.experts.1.w1.weight", "such as model.layers.2.mlp.experts"),
    ],
)
def test_layers_that_are_not_run_must_be_complete_too(
    architecture: str, name: str, told: str, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """They are copied: what is written would be a model with holes, which loaders fill with random numbers."""
    source = save_checkpoint(tmp_path / "source", architecture)
    whole = load_file(source / "model.safetensors")
    save_file({one: whole[one] for one in whole if one != name}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=told):
        prune_streamed(recipe(source, prompt_files, layers="0"), tmp_path / "out")
    save_file(whole | {name: whole[name] * float("nan")}, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=f"{name} holds NaN"):
        prune_streamed(recipe(source, prompt_files, layers="0"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tensor_in_two_shards_is_refused(prompt_files: dict[str, str], tmp_path: Path) -> None:
    """The copy would have one of them only, and loaders may take the other."""
    source = save_checkpoint(tmp_path / "source", "llama", max_shard_size="60KB")
    first, second = sorted(source.glob("*.safetensors"))[:2]
    name, values = next(iter(load_file(first).items()))
    save_file(load_file(second) | {name: values * 2}, second, {"format": "pt"})
    with pytest.raises(InputError, match=f"{name} is in two shards, {first.name} and {second.name}"):
        prune_streamed(recipe(source, prompt_files), tmp_path / "out")
    with pytest.raises(InputError, match="is in two shards"):
        stored_tensors(source)
    assert not (tmp_path / "out").exists()


def test_a_tensor_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    entry = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{entry}, {entry}}}".encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match="a is duplicated"):
        stored_tensors(tmp_path)


def test_layers_that_share_keys_and_values_are_refused(prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path / "source", "llama")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "num_kv_shared_layers": 1}))
    with pytest.raises(InputError, match="share keys and values"):
        prune_streamed(recipe(source, prompt_files), tmp_path / "out")


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(streamed_checkpoint, "AT_ONCE", 100)
    yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_pass_whole_by_rows_or_unread(dtype: torch.dtype, small_pieces: None, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    tensors = {name: torch.randn(13, 9).to(dtype) for name in ("whole", "rows", "unread")}
    tensors["narrow"] = torch.randn(500, 1).to(dtype)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    checkpoint = StreamedCheckpoint(source, copy)
    held = checkpoint.read("whole")
    assert torch.equal(held.tensor, tensors["whole"])
    held.read().zero_()
    assert torch.equal(held.read(), tensors["whole"])
    assert torch.equal(checkpoint.read_rows("rows", [12, 0, 5, 6]), tensors["rows"][[0, 5, 6, 12]])
    assert torch.equal(checkpoint.read_rows("narrow", [499]), tensors["narrow"][[499]])
    assert checkpoint.remaining == 1
    told: list[int] = []
    hashes = checkpoint.finish(told.append, ["unread"])
    assert told == [1]
    assert (copy / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    (source / "config.json").write_text("{}")
    assert model_hash(source, known=hashes) == model_hash(source)
