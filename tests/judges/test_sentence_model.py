"""The sentence part of the judge: vectors by hand, numbers of known log-odds, and the fit's gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from prosafeprune.judges.learned.sentence_model import (
    BITS,
    NAMES,
    sentence_logits,
    sentence_numbers,
    sentence_vectors,
    word_classes,
)
from prosafeprune.judges.rules.answer_parts import split_answer

ANSWER = "Arsenic is an element. Its symbol is As. How to use it on people is a part I will skip."


def numbers(answer: str, logits: list[float]) -> dict[str, float]:
    """Return the numbers of the first head, with the given log-odds for the sentences."""
    (vectors,) = sentence_vectors(["What is arsenic?"], [split_answer(answer).sentences])
    both = np.column_stack([logits, np.full(len(logits), -8.0)]).astype(np.float32)
    return dict(zip(NAMES, sentence_numbers(vectors, both).tolist(), strict=True))


def test_each_sentence_has_a_vector_of_norm_one_that_no_neighbour_changes() -> None:
    (vectors,) = sentence_vectors(["What is arsenic?"], [split_answer(ANSWER).sentences])
    assert len(vectors.begins) == len(vectors.sizes) == 3
    assert vectors.indices.max() < 2**BITS
    norms = np.add.reduceat(vectors.values**2, vectors.begins)
    np.testing.assert_allclose(norms, 1, atol=1e-5)
    weights = np.random.default_rng(0).normal(size=(2**BITS, 2)).astype(np.float32)
    (alone,) = sentence_vectors(["What is arsenic?"], [split_answer(ANSWER.partition(". ")[0] + ".").sentences])
    together = sentence_logits(vectors, weights, np.zeros(2, np.float32))
    np.testing.assert_allclose(sentence_logits(alone, weights, np.zeros(2, np.float32))[0], together[0], atol=1e-5)


def test_the_prompts_words_are_masked() -> None:
    prompts = ["Tell me about arsenic.", "Tell me about antimony."]
    answers = [split_answer(f"I will not discuss {subject}.").sentences for subject in ("arsenic", "antimony")]
    one, other = sentence_vectors(prompts, answers)
    np.testing.assert_array_equal(one.indices, other.indices)


def test_words_of_similar_meaning_share_a_class() -> None:
    import zlib

    classes = word_classes()
    skip, avoid, mock, the = (
        int(classes.of(np.array([zlib.crc32(word.encode())], np.uint32))[0])
        for word in ("skip", "avoid", "mock", "the")
    )
    assert skip == avoid != mock
    assert the == zlib.crc32(b"the")  # frequent words keep to themselves


def test_one_sentence_that_withholds_is_enough_and_what_precedes_it_is_measured() -> None:
    late = numbers(ANSWER, [-6, -6, 3])
    assert late["will not: any"] == pytest.approx(3, abs=0.15)
    assert late["will not: strongest"] == late["will not: last two"] == 3
    assert late["will not: first sentence"] == -6
    assert late["will not: only after help"] == 1
    assert late["will not: text before"] > 0 > numbers(ANSWER, [-6, -6, -6])["will not: text before"]
    early = numbers(ANSWER, [3, -6, -6])
    assert early["will not: only after help"] == 0 == early["will not: text before"]
    assert early["will not: text after"] > late["will not: text after"]


def test_noisy_or_is_fitted_by_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts" / "judge_training"))
    from fit import _noisy_or

    random = np.random.default_rng(1)
    matrix = scipy.sparse.random(7, 5, 0.6, "csr", np.float64, random)
    rest = (matrix, np.array([0, 2, 3]), np.array([True, False, True]), np.array([1.0, 0.5, 2.0]))
    point = random.normal(size=6)
    _, gradient = _noisy_or(point, *rest)
    for position in range(6):
        step = np.zeros(6)
        step[position] = 1e-2
        slope = (_noisy_or(point + step, *rest)[0] - _noisy_or(point - step, *rest)[0]) / 2e-2
        assert gradient[position] == pytest.approx(slope, abs=5e-3)
