"""GGUF files read as llama.cpp reads them: equal greedy answers, for every kind of RoPE, soft caps and windows.

Needs llama.cpp: ``pip install xllamacpp`` (a wheel; llama-cpp-python is compiled as it is installed).
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFWriter
from helpers.architectures import ARCHITECTURES
from helpers.gguf_files import gguf_metadata, gguf_tensors
from helpers.tiny_models import make_tokenizer

from prosafeprune.checkpoint.gguf_edits import GgufEdits
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.gguf import read_gguf
from prosafeprune.progress import ignore

llama_cpp = pytest.importorskip("xllamacpp")
ANSWER = 8
Parts = tuple[dict[str, Any], dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: make_tokenizer())


def divisors(kind: str) -> dict[str, np.ndarray]:
    """Return the RoPE frequencies' divisors that a file has: Llama 3's (original context 64), or any others."""
    if kind == "any":
        return {"rope_freqs.weight": np.linspace(1, 3, 8, dtype=np.float32)}
    wavelengths = 2 * np.pi * 10000.0 ** (np.arange(8) / 8)
    smooth = np.clip((64 / wavelengths - 1) / 3, 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32)}


def long_factors() -> dict[str, np.ndarray]:
    return {f"rope_factors_{one}.weight": np.linspace(1, 2, 8, dtype=np.float32) for one in ("long", "short")}


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
WINDOW = {"attention.sliding_window": 16, "attention.key_length": 16, "attention.value_length": 16}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[], dict[str, np.ndarray]]]] = {
    "llama": ("llama", {}, dict),
    "llama, linear": ("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, dict),
    "llama, Llama 3": ("llama", {}, lambda: divisors("llama3")),
    "llama, any divisors": ("llama", {}, lambda: divisors("any")),
    "qwen2, YaRN": ("qwen2", YARN, dict),
    "qwen2, YaRN with a factor": ("qwen2", {**YARN, "rope.scaling.attn_factor": 0.8}, dict),
    "qwen3": ("qwen3", {"attention.key_length": 16, "attention.value_length": 16}, dict),
    "gemma2, soft caps and windows": ("gemma2", {**WINDOW, **CAPS}, dict),
    "phi3, longrope": ("phi3", {"rope.scaling.original_context_length": 64}, long_factors),
}


def write(file: Path, architecture: str, keys: dict[str, Any], more: dict[str, np.ndarray]) -> Path:
    """Write a tiny file whose weights are exact in float16."""
    torch.manual_seed(0)
    config = ARCHITECTURES[architecture]()
    config.update({"hidden_size": 64, "intermediate_size": 96, "head_dim": 16})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.15)
    tensors = {**gguf_tensors(model, architecture), **more}
    if architecture == "gemma2":  # as llama.cpp's converter stores norms, which multiply by one more
        tensors = {name: one + 1 if "norm" in name else one for name, one in tensors.items()}
    writer = GGUFWriter(file, architecture)
    for key, value in {**gguf_metadata(config), "rope.dimension_count": 16, **keys}.items():
        kind = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        kind(f"{architecture}.{key}", value)
    tokens = [token for token, _ in sorted(make_tokenizer().get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"<{number}>" for number in range(len(tokens), 300))])
    writer.add_token_types([1] * 300)
    writer.add_token_merges([" ".join(tokens[-2:])])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.astype(np.float16).astype(np.float32) if tensor.ndim > 1 else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def answers_of_llama_cpp(file: Path, prompts: list[list[int]]) -> list[list[int]]:
    parameters = llama_cpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 512, 1, False
    parameters.cache_type_k = parameters.cache_type_v = llama_cpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = llama_cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cpuparams.n_threads = 1
    server = llama_cpp.Server(parameters)
    asked = {"n_predict": ANSWER, "temperature": 0, "return_tokens": True, "cache_prompt": False, "ignore_eos": True}

    def answer(prompt: list[int]) -> list[int]:
        # Its own interface, which returns tokens; the server listens on this machine alone.
        request = urllib.request.Request(
            f"{server.listening_address}/completion",
            json.dumps({**asked, "prompt": prompt}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return list(json.load(reply)["tokens"])

    return [answer(prompt) for prompt in prompts]


@torch.inference_mode()
def answers_of(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(ANSWER):
            logits = model(torch.tensor([ids])).logits[0, -1]
            logits[1] = -torch.inf  # llama.cpp ignores the end token
            ids.append(int(logits.argmax()))
        answers.append(ids[len(prompt) :])
    return answers


@pytest.mark.parametrize("case", CASES)
def test_greedy_answers_are_llama_cpps(case: str, tmp_path: Path) -> None:
    architecture, keys, more = CASES[case]
    file = write(tmp_path / "tiny.gguf", architecture, keys, more())
    numbers = np.random.default_rng(0)
    prompts = [numbers.integers(5, 260, size).tolist() for size in range(70, 170, 5)]
    model = read_gguf(file)[0].float().eval()
    found, expected = answers_of(model, prompts), answers_of_llama_cpp(file, prompts)
    assert found == expected
    assert len({tuple(one) for one in expected}) > 10


def test_a_pruned_file_answers_in_llama_cpp_as_the_model_that_was_measured(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", "llama", {}, {})
    prompts = [np.random.default_rng(size).integers(5, 260, size).tolist() for size in range(70, 170, 5)]
    model = read_gguf(file)[0].float().eval()
    before = answers_of(model, prompts)
    none = EditMeasures(submodule="", kind="", layer=1, stable_rank=1, energy_bound=1, energy=0, harmful_overlap=0)
    found = []
    for submodule in find_anatomy(model).of_layer(1):
        left = torch.linalg.qr(torch.randn(submodule.shape[0], 8))[0]
        found.append(PruningEdit(submodule, OverlapOperator(left, left), 0.9, none))
    edits = GgufEdits(file, found)
    edits.apply_in_memory(ignore)
    (tmp_path / "out").mkdir()
    edits.write(tmp_path / "out", ignore)
    measured, served = answers_of(model, prompts), answers_of_llama_cpp(tmp_path / "out" / "tiny.gguf", prompts)
    same = sum(one == other for one, other in zip(measured, served, strict=True))
    assert same >= 18  # in memory the edited weights are rounded to float16, in this file they are not
    assert sum(one == other for one, other in zip(before, served, strict=True)) <= 5
