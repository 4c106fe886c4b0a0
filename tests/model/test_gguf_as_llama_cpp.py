"""GGUF files read as llama.cpp reads them: equal greedy answers, for every kind of RoPE, soft caps and windows.

Needs llama.cpp: ``pip install xllamacpp`` (a wheel; llama-cpp-python is compiled as it is installed).
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers.llama_cpp_files import CASES, write_case
from helpers.tiny_models import make_tokenizer

from prosafeprune.checkpoint.gguf_edits import GgufEdits
from prosafeprune.editing.edits import EditMeasures, PruningEdit
from prosafeprune.method.overlap_operator import OverlapOperator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.gguf import read_gguf
from prosafeprune.progress import ignore

llama_cpp = pytest.importorskip("xllamacpp")
ANSWER = 8


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: make_tokenizer())


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
    file = write_case(tmp_path / "tiny.gguf", architecture, keys, more())
    numbers = np.random.default_rng(0)
    prompts = [numbers.integers(5, 260, size).tolist() for size in range(70, 170, 5)]
    model = read_gguf(file)[0].float().eval()
    found, expected = answers_of(model, prompts), answers_of_llama_cpp(file, prompts)
    assert found == expected
    assert len({tuple(one) for one in expected}) > 10


def test_a_pruned_file_answers_in_llama_cpp_as_the_model_that_was_measured(tmp_path: Path) -> None:
    file = write_case(tmp_path / "tiny.gguf", "llama", {}, {})
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
