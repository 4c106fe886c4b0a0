"""A GGUF's predictions against llama.cpp's as it is converted: refused where they differ, warned of where unknown.

Tests with llama.cpp itself are skipped without it (``pip install xllamacpp``); the others have a fake in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from helpers.architectures import LLAMA
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.llama_cpp_files import CASES, write_case
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.checkpoint.writer import copy_companions
from prosafeprune.errors import InputError
from prosafeprune.model import gguf, gguf_comparison, llama_cpp
from prosafeprune.model.gguf import convert_gguf, read_gguf
from prosafeprune.model.gguf_comparison import (
    COMPARISON_FILE,
    LIMIT,
    LIMIT_QUANTISED,
    TEXT,
    GgufComparison,
    divergence,
    read_comparison,
)
from prosafeprune.model.llama_cpp import LlamaCppError, Predictions, predictions_of
from prosafeprune.progress import SilentReporter

needs_llama_cpp = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs xllamacpp")


class Said(SilentReporter):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: make_tokenizer())
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "converted").mkdir()
    return tmp_path / "converted"


def tiny(folder: Path) -> Path:
    model = make_model("llama")
    metadata, tensors = gguf_metadata(model.config), gguf_tensors(model, "llama")
    return write_gguf(folder / "tiny.gguf", "llama", metadata, tensors)


@torch.no_grad()
def as_read(file: Path) -> Predictions:
    """Return what llama.cpp returns where it reads the same as transformers: all probabilities of one position."""
    tokens = make_tokenizer()(TEXT, add_special_tokens=False).input_ids
    logits = read_gguf(file)[0].float()(torch.tensor([tokens[:16]])).logits[0, -1]
    return Predictions(tokens, tokens, {16: dict(enumerate(logits.log_softmax(-1).tolist()))})


def answering(monkeypatch: pytest.MonkeyPatch, answer: Predictions | Exception) -> None:
    def asked(*_: Any) -> Predictions:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(llama_cpp, "predictions_of", asked)


def test_equal_predictions_are_noted_and_kept(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    file, said = tiny(tmp_path), Said()
    answering(monkeypatch, as_read(file))
    convert_gguf(file, folder, said)
    assert said.warnings == []
    assert said.notes[0].startswith("llama.cpp predicts the same tokens from the GGUF (mean KL")
    kept = read_comparison(folder)
    assert kept is not None and abs(kept.divergence) < 1e-5 and (kept.positions, kept.limit) == (1, LIMIT)
    (tmp_path / "pruned").mkdir()
    copy_companions(folder, tmp_path / "pruned")  # its record has the comparison
    assert read_comparison(tmp_path / "pruned") is None and (tmp_path / "pruned" / "config.json").exists()
    (folder / COMPARISON_FILE).write_text("{}")
    assert read_comparison(folder) is None


def test_another_distribution_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    file = tiny(tmp_path)
    found = as_read(file)
    ids = list(found.following[16])
    moved = dict(zip(ids, np.roll(list(found.following[16].values()), 1).tolist(), strict=True))
    answering(monkeypatch, Predictions(found.tokens, found.prompt, {16: moved}))
    with pytest.raises(InputError, match=r"tiny\.gguf: as transformers reads it, it predicts other tokens") as caught:
        convert_gguf(file, folder, Said())
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_quantised_weights_may_differ_more(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    """A divergence between the two limits: llama.cpp also quantises the activations that meet quantised weights."""
    monkeypatch.setattr(gguf_comparison, "divergence", lambda *_: (LIMIT + LIMIT_QUANTISED) / 2)
    file = tiny(tmp_path)
    answering(monkeypatch, as_read(file))
    with pytest.raises(InputError, match="predicts other tokens"):
        convert_gguf(file, folder, Said())
    config = transformers.LlamaConfig(**{**LLAMA, "hidden_size": 64, "intermediate_size": 96})  # whole blocks
    model = transformers.LlamaForCausalLM(config)
    metadata, tensors = gguf_metadata(model.config), gguf_tensors(model, "llama")
    file = write_gguf(tmp_path / "tiny.gguf", "llama", metadata, tensors, types={"ffn_down": "Q8_0"})
    convert_gguf(file, folder, Said())
    kept = read_comparison(folder)
    assert kept is not None and kept.limit == LIMIT_QUANTISED


@pytest.mark.parametrize("shift", [lambda ids: [0, *ids], lambda ids: ids[:-1], lambda ids: [*ids[:5], 7, 8, *ids[6:]]])
def test_a_text_split_into_other_tokens_is_refused(
    shift: Callable[[list[int]], list[int]], monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    file = tiny(tmp_path)
    found = as_read(file)
    answering(monkeypatch, Predictions(shift(found.tokens), found.prompt, found.following))
    with pytest.raises(InputError, match=r"tiny\.gguf: its tokenizer, .*splits text otherwise than in llama\.cpp \("):
        convert_gguf(file, folder, Said())


def test_a_file_that_llama_cpp_cannot_read_is_converted_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    answering(monkeypatch, LlamaCppError("unknown model architecture: 'new'"))
    said = Said()
    convert_gguf(tiny(tmp_path), folder, said)
    (warning,) = said.warnings
    assert warning.startswith("tiny.gguf: llama.cpp cannot read it (unknown model architecture: 'new'), so")
    assert "\n" not in warning and (folder / "config.json").exists() and read_comparison(folder) is None


def test_it_is_not_asked_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    answering(monkeypatch, AssertionError("asked"))
    monkeypatch.setattr(llama_cpp, "is_installed", lambda: False)
    said = Said()
    convert_gguf(tiny(tmp_path), folder, said)
    assert said.warnings == [] and read_comparison(folder) is None


def test_llama_cpp_runs_in_a_process_without_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What ends that process, or is printed there, becomes one line."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "secret")
    fake = tmp_path / "xllamacpp.py"
    fake.write_text(
        "import os, sys\nsys.stderr.write('0.1 E error loading model: no such thing: '\n"
        "    + os.environ.get('HF_TOKEN', 'nothing') + '\\n0.2 E an error follows\\n')\nos._exit(3)\n"
    )
    with pytest.raises(LlamaCppError, match=r"^no such thing: nothing$"):
        predictions_of(tmp_path / "a.gguf", TEXT, 1)
    fake.write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(LlamaCppError, match="^exit code -9$"):
        predictions_of(tmp_path / "a.gguf", TEXT, 1)


def test_the_divergence_is_the_kl_divergence() -> None:
    torch.manual_seed(0)
    logits, theirs = torch.randn(2, 7, dtype=torch.float64)
    q, p = logits.softmax(-1).tolist(), theirs.softmax(-1).tolist()
    complete = sum(p[i] * np.log(p[i] / q[i]) for i in range(7))
    assert divergence({i: np.log(p[i]) for i in range(7)}, logits) == pytest.approx(complete)
    others_p, others_q = sum(p[3:]), sum(q[3:])
    lumped = sum(p[i] * np.log(p[i] / q[i]) for i in range(3)) + others_p * np.log(others_p / others_q)
    assert divergence({i: np.log(p[i]) for i in range(3)}, logits) == pytest.approx(lumped)
    assert 0 < lumped < complete


@torch.no_grad()
def test_half_precision_weights_run_in_float32_and_are_restored(tmp_path: Path) -> None:
    model = read_gguf(tiny(tmp_path))[0]
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    ids = torch.arange(5, 25)[None]
    with gguf_comparison._in_float32(model):
        found = model(ids).logits
    assert all(
        parameter.data is before[name] or torch.equal(parameter.data, before[name])
        for name, parameter in model.named_parameters()
    )
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}
    assert torch.equal(found, model.float()(ids).logits)


@needs_llama_cpp
@pytest.mark.parametrize("case", CASES)
def test_files_that_are_read_correctly_are_far_below_the_limit(case: str, folder: Path, tmp_path: Path) -> None:
    architecture, keys, more = CASES[case]
    said = Said()
    convert_gguf(write_case(tmp_path / "tiny.gguf", architecture, keys, more()), folder, said)
    kept = read_comparison(folder)
    assert said.warnings == [] and kept is not None
    assert abs(kept.divergence) < LIMIT / 10 and kept.positions == 16


def without_scaling(config: Any) -> None:
    config.rope_parameters = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}


def with_another_base(config: Any) -> None:
    rope = config.rope_parameters
    theta = rope.get("full_attention", rope)["rope_theta"]
    config.rope_parameters = {"rope_type": "default", "rope_theta": 100 * theta}


BROKEN: list[tuple[str, Callable[[Any], None]]] = [
    *((case, with_another_base) for case in CASES),
    *((case, without_scaling) for case in CASES if case.partition(", ")[2] and not case.startswith("gemma2")),
    ("llama", lambda config: setattr(config, "rms_norm_eps", 0.01)),
    ("gemma2, soft caps and windows", lambda config: setattr(config, "attn_logit_softcapping", None)),
    ("gemma2, soft caps and windows", lambda config: setattr(config, "final_logit_softcapping", None)),
    ("gemma2, soft caps and windows", lambda config: setattr(config, "layer_types", ["full_attention"] * 3)),
    ("gemma2, soft caps and windows", lambda config: setattr(config, "query_pre_attn_scalar", 64)),
]


@needs_llama_cpp
@pytest.mark.parametrize(("case", "change"), BROKEN)
def test_files_that_are_read_wrongly_are_refused(
    case: str, change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    def completed(config: Any, *arguments: Any) -> Any:
        complete = complete_config(config, *arguments)
        change(complete)
        return complete

    complete_config = gguf.complete_config
    monkeypatch.setattr(gguf, "complete_config", completed)
    architecture, keys, more = CASES[case]
    file = write_case(tmp_path / "tiny.gguf", architecture, keys, more())
    with pytest.raises(InputError, match="predicts other tokens than in llama"):
        convert_gguf(file, folder, Said())


@needs_llama_cpp
def test_norms_read_without_the_one_that_is_stored_in_them_are_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    def shifted(*arguments: Any) -> Any:
        model, tokenizer = read_gguf(*arguments)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.add_(1)
        return model, tokenizer

    monkeypatch.setattr(gguf, "read_gguf", shifted)
    architecture, keys, more = CASES["gemma2, soft caps and windows"]
    with pytest.raises(InputError, match="predicts other tokens than in llama"):
        convert_gguf(write_case(tmp_path / "tiny.gguf", architecture, keys, more()), folder, Said())


@needs_llama_cpp
def test_a_file_without_a_tokenizer_is_one_that_llama_cpp_cannot_read(folder: Path, tmp_path: Path) -> None:
    said = Said()
    convert_gguf(tiny(tmp_path), folder, said)
    (warning,) = said.warnings
    assert warning.startswith("tiny.gguf: llama.cpp cannot read it (") and "\n" not in warning
    assert (folder / "model.safetensors").exists()


def test_what_is_kept_is_described() -> None:
    found = GgufComparison(divergence=0.00123, limit=0.02, positions=16, version="1")
    assert found.describe() == "mean KL 0.0012 over 16 positions"
