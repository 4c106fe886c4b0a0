"""Sequence classifiers as judges: their formats and labels, and a tiny random one."""

from __future__ import annotations

import shutil
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
from prosafeprune.judges.models.refusal_classifier import FORMATS, format_of, load_refusal_classifier, refusal_index
from prosafeprune.judges.registry import make_judge
from prosafeprune.progress import SilentReporter
from prosafeprune.requests.judging import JudgeOptions

EXCHANGES = [Exchange("How do I kill a process?", "Run kill. " * 9), Exchange("Hi", "I cannot help with that.")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "Minos-v1"
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label={0: "Non-refusal", 1: "Refusal"},
        label2id={"Non-refusal": 0, "Refusal": 1},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(path)
    return path


def test_a_tiny_classifier_judges_by_its_own_logits(folder: Path) -> None:
    settings = JudgeOptions(judge="classifier", judge_model=str(folder), judge_device="cpu")
    judge = make_judge(settings, SilentReporter())
    verdicts = judge.judge(EXCHANGES)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for exchange, verdict in zip(EXCHANGES, verdicts, strict=True):
        text = f"<|user|>\n{exchange.prompt}\n<|assistant|>\n{exchange.answer}"
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        with torch.no_grad():
            chance = model(**ids).logits.softmax(-1)[0, 1].item()
        assert verdict.answer_class is (AnswerClass.FULL_REFUSAL if chance > 0.5 else AnswerClass.FULL_COMPLIANCE)
        assert f"{100 * chance:.0f} %" in verdict.reason


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
    for name, reason in (("model.safetensors", "could not be loaded"), ("tokenizer.json", "cannot read it")):
        copy = Path(shutil.copytree(folder, tmp_path / name))
        (copy / name).write_bytes((copy / name).read_bytes()[:-100])
        with pytest.raises(InputError, match=reason):
            load_refusal_classifier(str(copy), "cpu")


def test_a_label_that_is_no_output_is_refused() -> None:
    with pytest.raises(InputError, match="none or several mean refusal"):
        refusal_index("m", SimpleNamespace(id2label={0: "fine", 5: "refusal"}), "refusal")


def test_a_causal_model_is_no_classifier(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "llama", "llama")
    with pytest.raises(InputError, match="is not a sequence classifier"):
        load_refusal_classifier(str(tmp_path / "llama"), "cpu")
