"""Fitting the detector of word salad."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import PROMPTS_FOR_TESTING, TESTS, hash_of, phtest_rows, xstest
from fit import Arrays, tree_arrays
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from prosafeprune.judges.languages.detect import language_of
from prosafeprune.judges.learned.word_salad import (
    CLASSES,
    FREQUENT,
    LETTERS,
    PAIR_BITS,
    SCALE,
    WORD_BITS,
    TextStatistics,
    classes_of,
    hash_pairs,
    hash_tokens,
    letter_codes,
    pack_bits,
    shapes_of,
    tokens_of,
    trigrams,
)
from prosafeprune.judges.reasoning_text import spoken_part

CLEAN_CALLED_SALAD = 0.004
"""The share of clean training text that the threshold lets through as salad."""
MADE = 6000
"""Pieces of salad that are put together from words, besides what models generated."""
GSM8K_FOR_TRAINING = 300
FENCED = re.compile(r"```\w*\n(.+?)```", re.S)
SMALL_MODEL = "qwen2.5-coder-0.5b"
"""Its answers are labelled, but are not sure to make sense."""
WRITTEN_TIMES = 2
"""How often the clean text written for this counts, so that its few kinds are heard among the many answers."""


def read_salad(part: str) -> list[dict[str, str]]:
    """Return the generated salad of one part, ``train`` or ``test``: no way of damage of one model is in both."""
    return [row for row in _rows(TESTS / "word_salad.jsonl") if row["part"] == part]


def clean_texts(data: Path, testing: bool) -> dict[str, list[str]]:
    """Return clean text of one part by kind: answers to PHTest by prompt, XSTest's and GSM8K's answers, other kinds."""
    kinds: dict[str, list[str]] = {
        "PHTest": [
            row["completion"]
            for _, row in phtest_rows(data)
            if (hash_of(row["prompt"]) % PROMPTS_FOR_TESTING == 0) is testing and len(row["completion"]) > 60
        ]
    }
    gsm8k = [row["answer"] for row in _rows(data / "gsm8k_test_600.jsonl")]
    if testing:
        kinds["XSTest"] = [answer.answer for answer in xstest(data)]
        kinds["GSM8K"] = gsm8k[GSM8K_FOR_TRAINING:]
    else:
        kinds["Alpaca"] = [row["prompt"] for row in _rows(data / "alpaca_harmless.jsonl")][:4000]
        kinds["GSM8K"] = gsm8k[:GSM8K_FOR_TRAINING]
        kinds["MMLU"] = [row["question"] for row in _rows(data / "mmlu_dev.jsonl")]
        kinds["bare code"] = [code for text in kinds["PHTest"] for code in FENCED.findall(text)]
        kinds["bare lists"] = _lists(data)
        kinds["written"] = [row["completion"] for row in _rows(TESTS / "judge_answers.jsonl")]
        kinds["modern"] = modern_answers()
    for row in _rows(TESTS / "clean_text.jsonl"):
        if row["part"] == ("test" if testing else "train"):
            kinds.setdefault(row["kind"], []).append(row["text"])
    return kinds


def modern_answers() -> list[str]:
    """Return the training part of the answers in current models' styles, without broken ones and a small model's."""
    return [
        spoken_part(row["answer"])
        for row in _rows(TESTS / "judge_modern.jsonl")
        if row["part"] == "train" and row["label"] != "broken" and row["style"] != SMALL_MODEL
    ]


def _lists(data: Path) -> list[str]:
    """Return lists of names of things, without sentences."""
    choices = [
        choice
        for row in _rows(data / "commonsenseqa_dev_600.jsonl")
        for choice in row["choices"]["text"]  # type: ignore[index]
    ]
    chosen = random.Random(1)
    sizes = [chosen.randint(8, 20) for _ in range(400)]
    return [chosen.choice((", ", "\n- ", "\n", " | ")).join(chosen.sample(choices, size)) for size in sizes]


def fit_salad(data: Path) -> tuple[Arrays, float]:
    """Return the detector's arrays and its threshold.

    Clean text is scored by the statistics of the other half, so that its own words and pairs do not flatter it.
    """
    kinds = clean_texts(data, testing=False)
    clean = [text for texts in kinds.values() for text in texts]
    halves = [[text for text in clean if hash_of(text) % 2 == half] for half in range(2)]
    tables = [statistics(texts) for texts in halves]
    chosen = random.Random(0)
    salad = [*(row["answer"] for row in read_salad("train")), *made_salad(clean, chosen)]
    salad += [_collapse(chosen.choice(clean), text, chosen) for text in salad[::3]]
    written = {row["text"] for row in _rows(TESTS / "clean_text.jsonl")} | set(modern_answers())
    found: dict[str, list[NDArray[np.float32]]] = {"clean": [], "written": [], "salad": []}
    for half, other in enumerate(reversed(tables)):
        english = [text for text in halves[half] if language_of(text) == "en"]
        found["clean"] += _features(other, english)
        found["written"] += _features(other, [text for text in english if text in written])
        found["salad"] += _features(other, salad[half::2])
    no, yes = np.array(found["clean"] + found["written"] * WRITTEN_TIMES), np.array(found["salad"])
    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.08, max_leaf_nodes=10, min_samples_leaf=30, l2_regularization=1.0, random_state=0
    )
    model.fit(np.concatenate([no, yes]), [0] * len(no) + [1] * len(yes))
    trees = {f"salad.{name}": array for name, array in tree_arrays(model).items()}
    shipped = statistics(clean)
    arrays = {f"salad.{name}": getattr(shipped, name) for name in shipped.__dataclass_fields__}
    return {**arrays, **trees}, float(np.quantile(model.decision_function(no), 1 - CLEAN_CALLED_SALAD))


def statistics(texts: Sequence[str]) -> TextStatistics:
    """Return the statistics of ordinary text."""
    tokens = [tokens_of(text) for text in texts]
    hashes = [hash_tokens(one) for one in tokens]
    counts: Counter[int] = Counter()
    pairs: Counter[int] = Counter()
    for own in hashes:
        counts.update(own.tolist())
        pairs.update(set(hash_pairs(own).tolist()))
    frequent = np.array(sorted(hash_ for hash_, _ in counts.most_common(FREQUENT)), dtype=np.uint32)
    steps, letters = np.full((CLASSES, CLASSES), 0.05), np.full(LETTERS**3, 0.05)
    for token in tokens:
        classes = classes_of(shapes_of(token), frequent)
        np.add.at(steps, (classes[:-1], classes[1:]), 1)
        words = " ".join(word for word in token if word[0].isalpha())
        np.add.at(letters, trigrams(letter_codes(words)), 1)
    expected = steps.sum(axis=1, keepdims=True) * steps.sum(axis=0) / steps.sum()
    rows = letters.reshape(-1, LETTERS)
    return TextStatistics(
        pack_bits(_often(counts), WORD_BITS),
        pack_bits(_often(pairs), PAIR_BITS),
        frequent,
        _stored(np.log((steps + 0.5) / (expected + 0.5))),
        _stored(np.log(rows / rows.sum(axis=1, keepdims=True)).ravel()),
    )


def made_salad(clean: Sequence[str], chosen: random.Random) -> list[str]:
    """Return salad of words and word pieces, at random between common and rare, loose and glued, pure and diluted."""
    counts = Counter(token for text in clean for token in text.split())
    words = [word for word, _ in counts.most_common(60000)]
    found = []
    for _ in range(MADE):
        rarity, glue, cut, odd = chosen.choice((0.3, 0.6, 1.0, 2.0)), *(chosen.random() ** 2 for _ in range(3))
        size = chosen.randint(12, 110)
        drawn = [words[int(len(words) * chosen.random() ** (1 / rarity))] for _ in range(size)]
        if chosen.random() < 0.4:  # some sense is left between the words without it
            source, start = chosen.choice(clean).split(), chosen.randint(0, 20)
            kept = chosen.uniform(0.1, 0.6)
            drawn = [
                b if b and chosen.random() < kept else a for a, b in zip(drawn, _pad(source[start:], size), strict=True)
            ]
        text = ""
        for word in drawn:
            piece = word[: max(1, len(word) * 2 // 3)] if chosen.random() < 0.5 * cut else word
            if chosen.random() < 0.1 * odd:
                piece = chosen.choice(
                    (piece.upper(), piece.title(), piece + chosen.choice("()[]{};:\"'*#|=_\n"), "\u00e4\u0438" + piece)
                )
            text += piece if chosen.random() < 0.6 * glue else " " + piece
        found.append(text.strip())
    return found


def _pad(words: list[str], size: int) -> list[str]:
    return (words + [""] * size)[:size]


def _collapse(text: str, bad: str, chosen: random.Random) -> str:
    """Return an answer that begins well and turns into salad."""
    return " ".join(text.split()[: chosen.randint(10, 80)]) + " " + bad


def _often(counts: Counter[int]) -> NDArray[np.uint32]:
    return np.array([value for value, count in counts.items() if count > 1], dtype=np.uint32)


def _stored(values: NDArray[np.floating]) -> NDArray[np.int8]:
    return np.clip(np.round(values * SCALE), -127, 127).astype(np.int8)


def _features(table: TextStatistics, texts: Sequence[str]) -> list[NDArray[np.float32]]:
    return [one for one in map(table.features, texts) if one is not None]


def _rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
