"""Models whose files do not agree with one another: one line, and never a model other than the one on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.fixture_types import Make
from helpers.resumed_models import CPU, tiny
from helpers.tiny_models import make_model, make_tokenizer
from safetensors.torch import load_file, save_file

from prosafeprune.errors import InputError
from prosafeprune.model.anatomy import Skipped, find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.model.prefix_cache import PrefixCache, shared_prefix_length
from prosafeprune.progress import SilentReporter
from prosafeprune.streaming.meta_model import load_meta_model
from prosafeprune.streaming.streamed_checkpoint import StreamedCheckpoint
from prosafeprune.streaming.streamed_weights import StreamedWeights


@pytest.fixture
def folder(checkpoint: Make, tmp_path: Path) -> Path:
    shutil.copytree(checkpoint("llama"), tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path) -> Any:
    return load_model(folder, "the model", SilentReporter(), device="cpu")


def edit_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_config_with_fewer_layers_than_the_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=2)
    with pytest.raises(InputError, match=r"the model: the weights have more layers .* such as model\.layers\.2\."):
        load(folder)
    meta = load_meta_model(folder, "the model", device="cpu", dtype="auto", trust_remote_code=False)
    (tmp_path / "copy").mkdir()
    with pytest.raises(InputError, match="the weights have more layers"):
        StreamedWeights(meta, find_anatomy(meta.model), StreamedCheckpoint(folder, tmp_path / "copy"))


def test_other_tensors_that_the_model_does_not_use_are_no_error(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    tensors["vision.layers.7.weight"] = torch.ones(2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).name == "the model"


@pytest.mark.parametrize(
    "changes",
    [{"eos_token_id": "2"}, {"eos_token_id": [1, "x"]}, {"temperature": "hot"}, {"max_length": "20"}, {"top_k": None}],
)
def test_odd_values_in_a_generation_config_are_no_traceback(changes: dict[str, Any], folder: Path) -> None:
    edit_json(folder / "generation_config.json", **changes)
    try:
        assert load(folder).end_ids == [1]
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("changes", [{"return_dict": False}, {"output_hidden_states": True, "output_attentions": True}])
def test_what_a_config_says_of_outputs_has_no_effect(changes: dict[str, Any], folder: Path) -> None:
    expected = load(folder).model(torch.tensor([[5, 6, 7]])).logits
    edit_json(folder / "config.json", **changes)
    found = load(folder).model(torch.tensor([[5, 6, 7]]))
    assert torch.equal(found.logits, expected)
    assert found.get("hidden_states") is None and found.get("attentions") is None


def test_prompts_longer_than_the_positions_are_one_line() -> None:
    for architecture in ("gpt2", "llama"):
        model = make_model(architecture)
        model.config.max_position_embeddings = 512
        fits, over = [tuple(range(5, 105)) * 5, (1, 2)], [tuple(range(5, 105)) * 6, (1, 2)]
        assert shared_prefix_length(model, fits, "left", 12) == 0
        with pytest.raises(InputError, match=r"takes 600 tokens, and the model has 512 positions"):
            shared_prefix_length(model, over, "right")
        with pytest.raises(InputError, match=r"takes 513 tokens with 13 tokens of answer.*--max-new-tokens"):
            PrefixCache(model, fits, 13)


def test_token_ids_without_an_embedding_are_one_line() -> None:
    with pytest.raises(InputError, match=r"the token id 300, and the model has 300 embeddings"):
        shared_prefix_length(make_model("llama"), [(1, 2), (1, 300)], "left")
    assert len(make_tokenizer()) < 300


@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", "down"), ("gpt2", "v"), ("phi3", "gate"), ("mixtral", "up")]
)
def test_a_matrix_of_zeros_is_left_alone_and_named(architecture: str, kind: str) -> None:
    model = make_model(architecture)
    whole = find_anatomy(model)
    zero = next(one for one in whole.of_layer(1) if one.kind == kind)
    with torch.no_grad():
        zero.put(zero.stored, torch.zeros(zero.shape))
    left = find_anatomy(model)
    assert {one.name for one in whole.submodules} - {one.name for one in left.submodules} == {zero.name}
    assert left.skipped[zero.name] is Skipped.ZERO
    with torch.no_grad():  # one weight that is not zero, in the last row
        last = torch.zeros(zero.shape)
        last[-1, -1] = 1
        zero.put(zero.stored, last)
    assert len(find_anatomy(model).submodules) == len(whole.submodules)


def test_zeros_are_found_in_models_in_memory_alone() -> None:
    loaded = tiny("llama")
    assert loaded.device == CPU
    with torch.device("meta"):
        meta = type(loaded.model)(loaded.model.config)
    assert len(find_anatomy(meta).submodules) == 21


def test_a_tokenizer_at_which_the_library_panics_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """What PyO3 raises; it is no Exception."""

    def panic(*_: object, **__: object) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", panic)
    with pytest.raises(InputError, match=r"the model: transformers cannot read it \(index out of bounds\)"):
        load(folder)


class Told(SilentReporter):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def add_tensors(folder: Path, **added: torch.Tensor) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, **added}, folder / "model.safetensors", metadata={"format": "pt"})


def assert_refused_twice(folder: Path, copy: Path, message: str) -> None:
    """Assert that both ways to load a model refuse it, in one line."""
    with pytest.raises(InputError, match=message) as whole:
        load(folder)
    meta = load_meta_model(folder, "the model", device="cpu", dtype="auto", trust_remote_code=False)
    copy.mkdir()
    with pytest.raises(InputError, match=message):
        StreamedWeights(meta, find_anatomy(meta.model), StreamedCheckpoint(folder, copy))
    assert "\n" not in str(whole.value)


@pytest.mark.parametrize("same", [True, False])
def test_a_tensor_under_two_names_is_refused(folder: Path, tmp_path: Path, same: bool) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    stored = load_file(folder / "model.safetensors")[name]
    add_tensors(folder, **{name.removeprefix("model."): stored.clone() if same else stored + 1})
    both = r"the model: layers\.1\.mlp\.down_proj\.weight and model\.layers\.1\.mlp\.down_proj\.weight are both stored"
    assert_refused_twice(folder, tmp_path / "copy", both)


EXPERT = "layers.1.block_sparse_moe.experts.2.w1.weight"


@pytest.mark.parametrize(
    ("architecture", "stored", "added"),
    [
        (
            "mixtral",
            "model.layers.1.block_sparse_moe.experts.2.w1.weight",
            "layers.1.block_sparse_moe.experts.2.w1.weight",
        ),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.2.w1.weight", "model.layers.1.mlp.experts.gate_up_proj"),
        ("qwen2_moe", "model.layers.1.mlp.experts.0.down_proj.weight", "model.layers.1.mlp.experts.down_proj"),
    ],
)
def test_a_part_of_a_tensor_under_two_names_is_refused(
    architecture: str, stored: str, added: str, checkpoint: Make, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint(architecture), tmp_path / "model"))
    add_tensors(folder, **{added: load_file(folder / "model.safetensors")[stored].clone()})
    assert_refused_twice(folder, tmp_path / "copy", r"the model: \S+ and \S+ are both stored and become one tensor")


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    name = "model.layers.2.mlp.down_proj.weight"
    add_tensors(folder, **{name: load_file(folder / "model.safetensors")[name].to(dtype)})
    assert_refused_twice(folder, tmp_path / "copy", rf"the model: {name} is stored as \w+, and config.json has no")


def test_unused_tensors_are_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    added = {f"vision.blocks.{number}.weight": torch.ones(2) for number in range(5)}
    ignored = {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    add_tensors(folder, **added, **ignored)
    told = Told()
    load_model(folder, "the model", told, device="cpu")
    assert told.warnings == [
        "the model: 5 stored tensors are not used by the model that its config.json describes: "
        "vision.blocks.0.weight, vision.blocks.1.weight, vision.blocks.2.weight, ...."
    ]
    meta = load_meta_model(folder, "the model", device="cpu", dtype="auto", trust_remote_code=False)
    (tmp_path / "copy").mkdir()
    weights = StreamedWeights(meta, find_anatomy(meta.model), StreamedCheckpoint(folder, tmp_path / "copy"))
    assert weights.unused == set(added)


def test_tied_tensors_that_are_both_stored_and_differ_are_named(checkpoint: Make, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint("gemma3"), tmp_path / "model"))
    embeddings = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    for head, expected in ((embeddings.clone(), 0), (embeddings + 1, 1)):
        add_tensors(folder, **{"lm_head.weight": head})
        told = Told()
        load_model(folder, "the model", told, device="cpu")
        assert [one.startswith("the model: its config.json ties lm_head.weight") for one in told.warnings] == [
            True
        ] * expected


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": -1, "layer_types": ["sliding_attention"] * 3},
        {"layer_types": ["sliding_attention"] * 3},  # without a window
    ],
)
def test_a_config_with_which_the_model_cannot_run_is_one_line(changes: dict[str, Any], folder: Path) -> None:
    edit_json(folder / "config.json", **changes)
    with pytest.raises(InputError, match=r"cannot run \(.*\)\. Check its config.json"):
        load(folder)


@pytest.mark.parametrize("kind", ["mamba2", "rwkv"])
def test_a_model_without_a_cache_of_keys_and_values_is_refused(kind: str, tmp_path: Path) -> None:
    configs = {
        "mamba2": transformers.Mamba2Config(
            **{"hidden_size": 48, "num_heads": 6, "head_dim": 16, "state_size": 16, "n_groups": 1},
            **{"num_hidden_layers": 3, "vocab_size": 300},
        ),
        "rwkv": transformers.RwkvConfig(hidden_size=48, attention_hidden_size=48, num_hidden_layers=3, vocab_size=300),
    }
    transformers.AutoModelForCausalLM.from_config(configs[kind]).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=rf"{kind} keeps no keys and values in a cache"):
        load(tmp_path)


def test_a_model_that_gives_nan_is_one_line(folder: Path) -> None:
    edit_json(folder / "config.json", rms_norm_eps=-1e9)
    with pytest.raises(InputError, match=r"produces NaN in float32"):
        load(folder)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    add_tensors(folder, **{"model.norm.weight": torch.ones(2)})
    with pytest.raises(InputError, match=r"wrong shape, such as model\.norm\.weight\."):
        load(folder)
