"""Adapters that do not fit their base: one line, never the base's answers under the adapter's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make
from helpers.tiny_models import make_model
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from prosafeprune.errors import InputError
from prosafeprune.model.adapters import attach_adapter, find_subject
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.progress import SilentReporter

Tensors = dict[str, torch.Tensor]
OF_MODEL = "base_model.model.model."


@pytest.fixture(scope="module")
def made(checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on the q matrices of a tiny Llama."""
    folder = tmp_path_factory.mktemp("adapter")
    adapted = get_peft_model(make_model("llama"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(checkpoint("llama"))
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    shutil.copytree(made, folder)
    return folder


def attached(folder: Path, *, merged: bool = False, quantised: bool = False) -> LoadedModel:
    subject = find_subject(str(folder))
    assert subject.adapter is not None
    loaded = load_model(subject.source.path, "base", SilentReporter(), device="cpu")
    if quantised:
        loaded.model.hf_quantizer = object()
    attach_adapter(loaded, subject.adapter, "the adapter", merged=merged)
    return loaded


def attach(folder: Path) -> torch.Tensor:
    return attached(folder).model(torch.arange(5, 25)[None]).logits


def change(folder: Path, edit: Callable[[Tensors], Tensors]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(edit(load_file(file)), file)


def test_an_adapter_that_fits_changes_the_model(adapter: Path, checkpoint: Make) -> None:
    base = load_model(checkpoint("llama"), "base", SilentReporter(), device="cpu").model
    assert not torch.allclose(attach(adapter), base(torch.arange(5, 25)[None]).logits)


def test_a_merged_adapter_leaves_the_modules_of_the_base(adapter: Path, checkpoint: Make) -> None:
    base = load_model(checkpoint("llama"), "base", SilentReporter(), device="cpu").model
    merged = attached(adapter, merged=True).model
    assert [name for name, _ in merged.named_modules()] == [name for name, _ in base.named_modules()]
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    torch.testing.assert_close(merged(torch.arange(5, 25)[None]).logits, attach(adapter))
    with pytest.raises(InputError, match="its base model is quantised, and the adapter cannot be added to such"):
        attached(adapter, merged=True, quantised=True)


@pytest.mark.parametrize("table", ["embed_tokens", "lm_head"])
def test_an_adapter_may_change_embeddings_or_head(table: str, checkpoint: Make, tmp_path: Path) -> None:
    """PEFT then also saves the base's own matrix, under the name that it has inside the LoRA layer."""
    base = make_model("llama")
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", table], init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(checkpoint("llama"))
    adapted.save_pretrained(tmp_path)
    assert any(f"{table}.base_layer.weight" in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    torch.testing.assert_close(attach(tmp_path), adapted.eval()(torch.arange(5, 25)[None]).logits)


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): one.clone() for name, one in tensors.items()}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (renamed("base_model.model.", "base_model."), "lacks 6 tensors"),
        (renamed("base_model.model.", ""), "lacks 6 tensors"),
        (renamed("layers.2", "layers.3"), "lacks 2 tensors"),
        (renamed("lora_A.weight", "lora_A.default.weight"), "lacks 3 tensors"),
        (lambda t: dict(list(t.items())[1:]), "lacks 1 tensors"),
        (lambda t: {**t, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight": torch.ones(2, 48)}, "has 1"),
        (lambda t: {**t, f"{OF_MODEL}embed_tokens.base_layer.weight": torch.ones(261, 48)}, "has 1"),
        (lambda t: {name: one[:, :7].contiguous() for name, one in t.items()}, "does not fit"),
        (lambda t: {name: one * float("nan") for name, one in t.items()}, "NaN or infinite"),
        (
            lambda t: {**t, f"{OF_MODEL}embed_tokens.weight": torch.full((261, 48), float("inf"))},
            "embed_tokens.weight holds NaN",
        ),
        (lambda t: {name: (9 * one).to(torch.int8) for name, one in t.items()}, "is stored as integers"),
    ],
    ids=[
        "prefix",
        "no prefix",
        "depth",
        "adapter name",
        "one gone",
        "one more",
        "own copy of embeddings without factors",
        "shape",
        "not finite",
        "embeddings",
        "integers",
    ],
)
def test_adapters_that_do_not_fit_are_named(edit: Callable[[Tensors], Tensors], words: str, adapter: Path) -> None:
    change(adapter, edit)
    with pytest.raises(InputError, match="the adapter: ") as caught:
        attach(adapter)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_and_malformed_adapters_are_one_line(adapter: Path) -> None:
    weights, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    whole, settings = weights.read_bytes(), json.loads(config.read_text())
    for length in (0, 5, 100, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            find_subject(str(adapter))
    weights.write_bytes(whole)
    for text, words in (
        ("[]", "does not hold a JSON object"),
        ("[" * 100_000, "nested too deep"),
        (json.dumps({**settings, "base_model_name_or_path": 3}), "does not name the base model"),
        (json.dumps({**settings, "peft_type": ["LORA"]}), "only LoRA adapters"),
        (json.dumps({**settings, "megatron_config": {"a": 1}, "megatron_core": "os"}), "sets megatron_config"),
        (json.dumps({**settings, "layer_replication": [[0, 3], [0, 3]]}), "sets layer_replication"),
        (json.dumps({**settings, "alora_invocation_tokens": [1]}), "sets alora_invocation_tokens"),
    ):
        config.write_text(text)
        with pytest.raises(InputError, match=words):
            find_subject(str(adapter))
    config.write_text(json.dumps({**settings, "r": "two"}))
    with pytest.raises(InputError, match="does not fit its base model"):
        attach(adapter)


def test_the_code_of_a_base_that_an_adapter_names_is_not_run(tmp_path: Path) -> None:
    for name, content in (("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "org/evil"}),):
        (tmp_path / name).write_text(json.dumps(content))
    save_file({"base_model.model.x.lora_A.weight": torch.ones(1, 2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"would run the code of the base model that it names, org/evil\. Merge it"):
        find_subject(str(tmp_path), trust_remote_code=True)
