"""Fitting the detector of word salad."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from data import PROMPTS_FOR_TESTING, TESTS, hash_of, phtest_rows, xstest
from fit import Arrays
from sklearn.linear_model import LogisticRegression

from prosafeprune.judge.learned.word_salad import (
    FEATURES,
    PAIR_BITS,
    WORD_BITS,
    SaladDetector,
    hash_pairs,
    hash_tokens,
    pack_bits,
    tokens_of,
)

CLEAN_CALLED_SALAD = 0.0055
"""The share of clean training text that the threshold lets through as salad."""


def read_salad(part: str) -> list[str]:
    """Return the generated salad of one part, ``train`` or ``test``; no model is in both."""
    rows = [json.loads(line) for line in (TESTS / "word_salad.jsonl").read_text(encoding="utf-8").split("\n") if line]
    return [row["answer"] for row in rows if row["part"] == part]


def clean_texts(data: Path, testing: bool) -> list[str]:
    """Return clean text of one part: answers to PHTest by prompt, and for testing XSTest's and GSM8K's answers too."""
    texts = [
        row["completion"]
        for _, row in phtest_rows(data)
        if (hash_of(row["prompt"]) % PROMPTS_FOR_TESTING == 0) is testing and len(row["completion"]) > 60
    ]
    if not testing:
        return texts + _column(data / "alpaca_harmless.jsonl", "prompt")[:4000]
    return texts + [one.answer for one in xstest(data)] + _column(data / "gsm8k_test_600.jsonl", "answer")


def fit_salad(data: Path) -> tuple[Arrays, float]:
    """Return the detector's arrays and its threshold."""
    clean, salad = clean_texts(data, testing=False), read_salad("train")
    words, pairs = _often(hash_tokens(tokens_of(text)) for text in clean), _often(_pairs(text) for text in clean)
    arrays: Arrays = {"salad.words": pack_bits(words, WORD_BITS), "salad.pairs": pack_bits(pairs, PAIR_BITS)}
    bare = detector(arrays | {"salad.weights": np.zeros(len(FEATURES) + 1, np.float32)}, 0.0)
    # The commonest pairs of a text are in the sets because of that text: mathematics and names keep the fit honest.
    others = _column(data / "gsm8k_test_600.jsonl", "answer")[:300] + _column(data / "mmlu_dev.jsonl", "question")
    no, yes = _features(bare, clean[::3] + others * 3), _features(bare, [*salad, *_collapses(clean, salad)])
    model = LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced")
    model.fit(np.concatenate([no, yes]), [0] * len(no) + [1] * len(yes))
    arrays["salad.weights"] = np.append(model.coef_[0], model.intercept_).astype(np.float32)
    return arrays, float(np.quantile(model.decision_function(no), 1 - CLEAN_CALLED_SALAD))


def detector(arrays: Arrays, threshold: float) -> SaladDetector:
    """Return a detector of these arrays."""
    return SaladDetector(arrays["salad.words"], arrays["salad.pairs"], arrays["salad.weights"], threshold)  # type: ignore[arg-type]


def _collapses(clean: Sequence[str], salad: Sequence[str]) -> list[str]:
    """Return answers that begin well and turn into salad."""
    return [
        " ".join(text.split()[: 30 + 5 * (i % 7)]) + " " + bad
        for i, (text, bad) in enumerate(zip(clean[::37], salad, strict=False))
    ]


def _often(hashes: Iterable[np.ndarray]) -> np.ndarray:
    counts: Counter[int] = Counter()
    for one in hashes:
        counts.update(one.tolist())
    return np.array([value for value, count in counts.items() if count > 1], dtype=np.uint32)


def _pairs(text: str) -> np.ndarray:
    return hash_pairs(hash_tokens(tokens_of(text)))


def _features(bare: SaladDetector, texts: Sequence[str]) -> np.ndarray:
    found = [bare.features(text) for text in texts]
    return np.array([one for one in found if one is not None])


def _column(file: Path, name: str) -> list[str]:
    return [json.loads(line)[name] for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
