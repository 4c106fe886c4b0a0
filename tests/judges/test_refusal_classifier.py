"""Sequence classifiers as judges: their formats and labels, and a tiny random one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from helpers.tiny_models import make_tokenizer, save_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.errors import InputError
from prosafeprune.judges import AnswerClass, Exchange
from prosafeprune.judges.models.refusal_classifier import (
    FORMATS,
    _positions,
    format_of,
    load_refusal_classifier,
    refusal_index,
)
from prosafeprune.judges.registry import make_judge
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.judging import JudgeOptions

EXCHANGES = [Exchange("How do I kill a process?", "Run kill. " * 9), Exchange("Hi", "I cannot help with that.")]


LABELS: dict[str, Any] = {
    "id2label": {0: "Non-refusal", 1: "Refusal"},
    "label2id": {"Non-refusal": 0, "Refusal": 1},
}
TINY: dict[str, Any] = {
    **LABELS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip
CONFIGS: dict[str, Callable[..., Any]] = {
    "Minos-v1": lambda **more: transformers.ModernBertConfig(
        **TINY, **more, max_position_embeddings=64, global_attn_every_n_layers=1
    ),
    "distilroberta-base-rejection-v1": lambda **more: transformers.RobertaConfig(
        **TINY, **more, max_position_embeddings=64 + 3
    ),
    "refusal_classifier": lambda **more: transformers.BertConfig(**TINY, **more, max_position_embeddings=64),
}
"""By the name that selects a format: Minos-v1 is a ModernBERT, protectai's a RoBERTa. Each can use 64 positions; the
RoBERTa has three more, up to the id of its padding token, 2."""


def save_classifier(path: Path, name: str) -> Path:
    """Save a tiny random classifier under the name of a known one; its weights differ enough for answers to differ."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "<pad>"
    special = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 0, "eos_token_id": 1}
    more = {"cls_token_id": 0, "sep_token_id": 1} if name == "Minos-v1" else {}
    config = CONFIGS[name](vocab_size=len(tokenizer), **special, **more)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3)
    model.save_pretrained(path / name)
    tokenizer.save_pretrained(path / name)
    return path / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("models"), "Minos-v1")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_tiny_classifier_judges_by_its_own_logits(name: str, tmp_path: Path) -> None:
    """The first answer is longer than the 64 positions, with padding in the other's row of the batch."""
    saved = save_classifier(tmp_path, name)
    settings = JudgeOptions(judge="classifier", judge_model=str(saved), judge_device="cpu")
    judge = make_judge(settings, SilentReporter())
    verdicts = judge.judge(EXCHANGES)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(saved).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    lengths = set()
    for exchange, verdict in zip(EXCHANGES, verdicts, strict=True):
        text = format_of(name).text.format(prompt=exchange.prompt, answer=exchange.answer)
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        lengths.add(ids["input_ids"].shape[1])
        with torch.no_grad():
            chance = model(**ids).logits.softmax(-1)[0, 1].item()
        assert verdict.answer_class is (AnswerClass.FULL_REFUSAL if chance > 0.5 else AnswerClass.FULL_COMPLIANCE)
        assert f"{100 * chance:.0f} %" in verdict.reason
    assert 64 in lengths


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (transformers.RobertaConfig(max_position_embeddings=514), 512),
        (transformers.RobertaConfig(max_position_embeddings=67, pad_token_id=2), 64),
        (transformers.XLMRobertaConfig(max_position_embeddings=514), 512),
        (transformers.BertConfig(max_position_embeddings=512), 512),
        (transformers.ModernBertConfig(max_position_embeddings=8192), 8192),
    ],
    ids=["RoBERTa", "RoBERTa, another padding token", "XLM-RoBERTa", "BERT", "ModernBERT"],
)
def test_positions_that_can_be_used(config: Any, positions: int) -> None:
    """RoBERTa counts from the position after its padding token's id, which is 1 in the published models."""
    assert _positions(config) == positions


def test_one_token_more_is_too_long_for_roberta(tmp_path: Path) -> None:
    """That is what some of its positions are left out for."""
    saved = save_classifier(tmp_path, "distilroberta-base-rejection-v1")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(saved).eval()
    with torch.no_grad():
        model(torch.full((1, _positions(model.config)), 7))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, _positions(model.config) + 1), 7))


@pytest.mark.parametrize(
    ("labels", "wanted", "index"),
    [
        ({0: "Non-refusal", 1: "Refusal"}, FORMATS["nousresearch/minos-v1"].refusal_label, 1),
        ({0: "refusal", 1: "non-refusal"}, FORMATS["garak-llm/garak-refusal-detector"].refusal_label, 0),
        ({0: "LABEL_0", 1: "LABEL_1"}, FORMATS["natong19/refusal_classifier"].refusal_label, 1),
        ({0: "NORMAL", 1: "REJECTION"}, FORMATS["protectai/distilroberta-base-rejection-v1"].refusal_label, 1),
        ({0: "rejected", 1: "fine"}, "refusal", 0),
    ],
)
def test_the_label_that_means_refusal(labels: dict[int, str], wanted: str, index: int) -> None:
    assert refusal_index("x", SimpleNamespace(id2label=labels), wanted) == index


def test_labels_that_do_not_tell_are_refused() -> None:
    with pytest.raises(InputError, match="none or several mean refusal"):
        refusal_index("x", SimpleNamespace(id2label={0: "positive", 1: "negative"}), "refusal")


def test_a_folder_is_known_by_its_name_and_an_unknown_one_reads_the_answer() -> None:
    assert format_of("/models/Minos-v1") is FORMATS["nousresearch/minos-v1"]
    assert format_of("someone/else").text == "{answer}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("classifier.weight"), "1 tensors are missing or have the wrong shape"),
        (lambda tensors: tensors["classifier.weight"].fill_(float("nan")), "holds NaN"),
    ],
    ids=["without a head", "NaN"],
)
def test_a_damaged_classifier_does_not_judge(change: Any, reason: str, folder: Path, tmp_path: Path) -> None:
    """transformers fills in missing weights with random ones, and of scores that are NaN the first is the largest."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=reason):
        load_refusal_classifier(str(copy), "cpu")


def test_what_cannot_be_read_as_a_classifier_is_one_line(folder: Path, tmp_path: Path) -> None:
    reasons = {"model.safetensors": "read as safetensors .* are truncated", "tokenizer.json": "cannot read it"}
    for name, reason in reasons.items():
        copy = Path(shutil.copytree(folder, tmp_path / name))
        (copy / name).write_bytes((copy / name).read_bytes()[:-100])
        with pytest.raises(InputError, match=reason):
            load_refusal_classifier(str(copy), "cpu")


def test_a_classifier_that_was_trained_further_is_another_judge(folder: Path, tmp_path: Path) -> None:
    """Verdicts are kept and compared under the name; where the folder is does not matter."""
    here, there = (Path(shutil.copytree(folder, tmp_path / place / folder.name)) for place in ("here", "there"))
    before, elsewhere = (load_refusal_classifier(str(place), "cpu").name for place in (here, there))
    assert before == elsewhere
    weights = load_file(here / "model.safetensors")
    save_file({name: value + 0.01 for name, value in weights.items()}, here / "model.safetensors", {"format": "pt"})
    after = load_refusal_classifier(str(here), "cpu").name
    assert before != after
    assert all(name.startswith(f"classifier:{folder.name}-") for name in (before, after))


def test_a_label_that_is_no_output_is_refused() -> None:
    with pytest.raises(InputError, match="none or several mean refusal"):
        refusal_index("m", SimpleNamespace(id2label={0: "fine", 5: "refusal"}), "refusal")


def test_a_causal_model_is_no_classifier(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "llama", "llama")
    with pytest.raises(InputError, match="is not a sequence classifier"):
        load_refusal_classifier(str(tmp_path / "llama"), "cpu")
