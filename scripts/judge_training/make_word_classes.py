"""Sort frequent English words into classes of similar meaning, by the word embeddings of a language model.

    python scripts/judge_training/make_word_classes.py SMOLLM2-135M > src/prosafeprune/judges/learned/word_classes.txt

One class a line. The sentence part of the judge sees each word's class besides the word, so that "skip" and "avoid"
share evidence. The committed file is of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), seeded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

CLASSES = 500
ROUNDS = 12
FREQUENT, MOST_WORDS = 300, 20000
"""Tokens are in order of their merges, so the first ones are the most frequent; those keep to themselves."""
COMMON_DIRECTIONS = 8
"""Directions of the embeddings of frequency rather than meaning."""


def main() -> None:
    """Print the classes."""
    folder = Path(sys.argv[1])
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = [(index, token[1:]) for token, index in sorted(vocabulary.items(), key=lambda one: one[1])
             if token[0] == "\u0120" and token[1:].isascii() and token[1:].isalpha() and token[1:].islower()
             and len(token) > 2][FREQUENT:MOST_WORDS]  # fmt: skip
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        table = file.get_tensor("model.embed_tokens.weight").float().numpy()[[index for index, _ in words]]
    table = table - table.mean(axis=0)
    _, _, directions = np.linalg.svd(table[::4], full_matrices=False)
    table = table - (table @ directions[:COMMON_DIRECTIONS].T) @ directions[:COMMON_DIRECTIONS]
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    chosen = np.random.default_rng(0)
    centres = table[chosen.choice(len(table), CLASSES, replace=False)]
    for _ in range(ROUNDS):
        nearest = (table @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, table)
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    for number in range(CLASSES):
        members = [word for (_, word), where in zip(words, nearest, strict=True) if where == number]
        if members:
            print(" ".join(members))


if __name__ == "__main__":
    main()
