"""Fitting the parts of the built-in judge's learned model; every seed is fixed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.sparse
from data import LabelledAnswer, hash_of
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from prosafeprune.judges.learned import rule_features
from prosafeprune.judges.learned.answer_model import (
    CLASSES,
    AnswerModel,
    blend_inputs,
    numbers_of_sentences,
    tree_inputs,
)
from prosafeprune.judges.learned.sentence_model import BITS as SENTENCE_BITS
from prosafeprune.judges.learned.sentence_model import NAMES as SENTENCE_NUMBERS
from prosafeprune.judges.learned.text_features import BITS
from prosafeprune.judges.learned.trees import FIELDS
from prosafeprune.judges.learned.word_salad import TABLES

Arrays = dict[str, NDArray[np.generic]]
ROUNDS, RIDGE = 40, 0.3
"""Settings of the sentence part."""
XSTEST_IN_BLEND = 3.0
"""Weight of XSTest's 900 answers in the blending regression, where some 6,000 to longer prompts outnumber them."""
PARTS = 2
"""Parts, by prompt, that predict each other for the blending regression."""


def fit_english(answers: Sequence[LabelledAnswer]) -> tuple[Arrays, NDArray[np.floating], NDArray[np.bool_]]:
    """Fit the parts for English.

    Returns:
        The arrays, the refusal probabilities of carefully labelled answers as predicted without their prompts, and
        whether those refuse.
    """
    part = np.array([hash_of(answer.prompt) % 997 % PARTS for answer in answers])
    one, other = (np.zeros((len(answers), len(CLASSES)), np.float32) for _ in range(2))
    sentences = np.zeros((len(answers), len(SENTENCE_NUMBERS)), np.float32)
    for held in range(PARTS):
        rows = np.flatnonzero(part == held)
        heads = fit_sentences([answers[row] for row in np.flatnonzero(part != held)])
        sentences[rows] = _sentences(heads, answers, rows)
    for held in range(PARTS):
        rest, rows = np.flatnonzero(part != held), np.flatnonzero(part == held)
        kept, asked = [answers[row] for row in rest], [answers[row] for row in rows]
        one[rows] = _predict_ngrams(fit_ngrams(kept), asked)
        other[rows] = _predict_trees(fit_trees(kept, sentences[rest]), asked, sentences[rows])
    careful = np.array([answer.careful for answer in answers])
    features = [answer.features for answer, is_careful in zip(answers, careful, strict=True) if is_careful]
    refuses = np.array([answer.refuses for answer in answers])[careful]
    inputs = blend_inputs(features, one[careful], other[careful], sentences[careful])
    weights = np.where([answer.source == "xstest" for answer in answers], XSTEST_IN_BLEND, 1.0)[careful]
    blend = LogisticRegression(C=0.3, max_iter=1000).fit(inputs, refuses, sample_weight=weights)
    arrays = {
        "blend.weights": blend.coef_[0].astype(np.float32),
        "blend.intercept": blend.intercept_.astype(np.float32),
        **ngram_arrays(fit_ngrams(answers)),
        **tree_arrays(fit_trees(answers, sentences)),
        **fit_sentences(answers),
    }
    return arrays, blend.predict_proba(inputs)[:, 1], refuses


def fit_ngrams(answers: Sequence[LabelledAnswer]) -> LogisticRegression:
    """Fit the regression over n-grams and numbers."""
    model = LogisticRegression(C=4.0, max_iter=70, tol=3e-3)
    return model.fit(_sparse(answers), _classes(answers), sample_weight=_weights(answers))


def fit_trees(answers: Sequence[LabelledAnswer], sentences: NDArray[np.float32]) -> HistGradientBoostingClassifier:
    """Fit the trees over numbers, those of the sentences as predicted without the answers' prompts."""
    model = HistGradientBoostingClassifier(
        max_iter=80, learning_rate=0.1, max_leaf_nodes=12, min_samples_leaf=20, l2_regularization=2.0, random_state=0
    )
    inputs = tree_inputs([answer.features for answer in answers], sentences)
    return model.fit(inputs, _classes(answers), sample_weight=_weights(answers))


def fit_sentences(answers: Sequence[LabelledAnswer]) -> Arrays:
    """Fit the two heads over sentences to the labels of answers, by noisy-or; the logits are linear."""
    read = [answer for answer in answers if answer.features.sentences is not None]
    vectors = [answer.features.sentences for answer in read if answer.features.sentences is not None]
    lengths = np.concatenate([np.diff([*vector.begins, len(vector.indices)]) for vector in vectors])
    values, indices = (np.concatenate([getattr(vector, name) for vector in vectors]) for name in ("values", "indices"))
    shape = (len(lengths), 2**SENTENCE_BITS)
    matrix = scipy.sparse.csr_matrix((values, indices.astype(np.int32), np.cumsum([0, *lengths])), shape=shape)
    begins = np.cumsum([0, *(len(vector.begins) for vector in vectors)])[:-1]
    weight = _weights(read).astype(np.float32)
    found = []
    for labels in (("full_refusal", "partial_refusal"), ("incapable",)):
        wanted = np.array([answer.label in labels for answer in read])
        start = np.zeros(shape[1] + 1)
        start[-1] = -4.0
        best = scipy.optimize.minimize(
            _noisy_or, start, (matrix, begins, wanted, weight), "L-BFGS-B", jac=True, options={"maxiter": ROUNDS}
        )
        found.append(best.x)
    return {
        "sentences.weights": np.column_stack([model[:-1] for model in found]).astype(np.float16),
        "sentences.intercept": np.array([model[-1] for model in found], np.float32),
    }


def _noisy_or(
    point: NDArray[np.float64],
    matrix: scipy.sparse.csr_matrix,
    begins: NDArray[np.intp],
    wanted: NDArray[np.bool_],
    weight: NDArray[np.float32],
) -> tuple[float, NDArray[np.float64]]:
    """Return the loss -log P(label) of answers whose sentences act independently, and its gradient."""
    logits = matrix @ point[:-1].astype(np.float32) + np.float32(point[-1])
    none = np.add.reduceat(np.logaddexp(0, logits), begins)  # -log P(no sentence acts)
    some = -np.expm1(-np.maximum(none, 1e-6))
    loss = float(weight @ np.where(wanted, -np.log(some), none)) + RIDGE / 2 * float(point[:-1] @ point[:-1])
    outer = weight * np.where(wanted, -np.exp(-none) / some, 1.0)
    inner = np.repeat(outer, np.diff([*begins, len(logits)])) / (1 + np.exp(-logits))
    gradient = np.append(matrix.T @ inner.astype(np.float32) + RIDGE * point[:-1], inner.sum())
    return loss, gradient.astype(np.float64)


def fit_languages(answers: Sequence[LabelledAnswer]) -> Arrays:
    """Fit the regression over speech acts for the languages other than English."""
    acts = np.stack([answer.features.numbers[len(rule_features.NAMES) :] for answer in answers])
    model = LogisticRegression(C=1.0, max_iter=3000).fit(acts, _classes(answers))
    return {
        "languages.weights": model.coef_.T.astype(np.float32),
        "languages.intercept": model.intercept_.astype(np.float32),
    }


def ngram_arrays(model: LogisticRegression) -> Arrays:
    """Return the regression's weights: one row for each n-gram's place, then for each number."""
    weights = model.coef_.T
    return {
        "ngrams": weights[: 2**BITS].astype(np.float16),
        "ngrams.numbers": weights[2**BITS :].astype(np.float32),
        "ngrams.intercept": model.intercept_.astype(np.float32),
    }


def tree_arrays(model: HistGradientBoostingClassifier) -> Arrays:
    """Return the nodes of all trees, one tree after the other; a leaf is its own child."""
    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "value")
    }
    roots, begins = [], 0
    for round_of_trees in model._predictors:
        roots.append([])
        for tree in round_of_trees:
            nodes, own = tree.nodes, np.arange(len(tree.nodes))
            leaf = nodes["is_leaf"].astype(bool)
            columns["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
            columns["threshold"].append(np.where(leaf, 0, nodes["num_threshold"]))
            columns["left"].append(begins + np.where(leaf, own, nodes["left"]))
            columns["right"].append(begins + np.where(leaf, own, nodes["right"]))
            columns["value"].append(np.where(leaf, nodes["value"], 0))
            roots[-1].append(begins)
            begins += len(nodes)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    floats = {name: joined[name].astype(np.float32) for name in ("threshold", "value")}
    whole = {name: joined[name].astype(np.int32) for name in ("feature", "left", "right")}
    arrays = {**floats, **whole, "root": np.array(roots, np.int32), "baseline": model._baseline_prediction.ravel()}
    return {
        f"trees.{name}": array.astype(np.float32) if name == "baseline" else array for name, array in arrays.items()
    }


def predict_english(arrays: Arrays, answers: Sequence[LabelledAnswer]) -> NDArray[np.floating]:
    """Return class probabilities by fitted parts, without reading or writing a file."""
    model = AnswerModel(_filled(arrays), {"undetermined_below": "0", "salad_threshold": "0"})
    return model.probabilities([answer.features for answer in answers], ["en"] * len(answers))


def _filled(arrays: Arrays) -> Arrays:
    """Add the parts that are not asked: other languages, salad."""
    acts = np.zeros((1, len(CLASSES)), np.float32)
    rest: Arrays = {"languages.weights": acts, "languages.intercept": acts[0]}
    rest |= {f"salad.{name}": np.zeros(1, np.int32) for name in (*TABLES, *(f"trees.{name}" for name in FIELDS))}
    return {**rest, **arrays}


def _predict_ngrams(model: LogisticRegression, answers: Sequence[LabelledAnswer]) -> NDArray[np.floating]:
    return _in_order(model, model.predict_proba(_sparse(answers)))


def _predict_trees(
    model: HistGradientBoostingClassifier, answers: Sequence[LabelledAnswer], sentences: NDArray[np.float32]
) -> NDArray[np.floating]:
    return _in_order(model, model.predict_proba(tree_inputs([answer.features for answer in answers], sentences)))


def _sentences(arrays: Arrays, answers: Sequence[LabelledAnswer], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    weights = arrays["sentences.weights"].astype(np.float32)
    features = [answers[row].features for row in rows]
    return numbers_of_sentences(features, weights, arrays["sentences.intercept"].astype(np.float32))


def _in_order(
    model: LogisticRegression | HistGradientBoostingClassifier, chances: NDArray[np.floating]
) -> NDArray[np.floating]:
    result = np.zeros((len(chances), len(CLASSES)))
    result[:, model.classes_] = chances
    return result


def _sparse(answers: Sequence[LabelledAnswer]) -> scipy.sparse.csr_matrix:
    ngrams = [answer.features.ngrams for answer in answers]
    ends = np.cumsum([0, *(len(indices) for indices, _ in ngrams)])
    values, indices = np.concatenate([one for _, one in ngrams]), np.concatenate([one for one, _ in ngrams])
    matrix = scipy.sparse.csr_matrix((values, indices.astype(np.int64), ends), shape=(len(answers), 2**BITS))
    numbers = np.stack([answer.features.numbers for answer in answers])
    return scipy.sparse.hstack([matrix, scipy.sparse.csr_matrix(numbers)]).tocsr()


def _classes(answers: Sequence[LabelledAnswer]) -> NDArray[np.int64]:
    return np.array([answer.class_index for answer in answers])


def _weights(answers: Sequence[LabelledAnswer]) -> NDArray[np.float64]:
    return np.array([answer.weight for answer in answers])
