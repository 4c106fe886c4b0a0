"""Measure the built-in judge held out by model and by prompt: no model and no prompt of a test is in its training.

    python scripts/judge_training/heldout.py --data DATA

It trains anew for each model left out (some minutes). Other languages and salad are measured with the shipped weights,
whose training has none of the tests' answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import LabelledAnswer, hash_of, read_all
from fit import fit_english, fit_languages, predict_english
from salad import clean_texts, read_salad

from prosafeprune.judge.builtin import BuiltinJudge
from prosafeprune.judge.judging import judge_answers
from prosafeprune.judge.learned import rule_features
from prosafeprune.judge.learned.answer_model import REFUSING, softmax
from prosafeprune.judge.verdict import AnswerClass, Exchange

FOLDS = 2
"""Parts of XSTest's prompts; each is judged by weights that saw the other part's prompts only."""
LANGUAGE_FOLDS = 5


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    answers = read_all(data)
    print(
        "| answers, model and prompts unseen | n | refuse | agreement, % | F1 | rules alone | F1 |\n"
        "|---|---|---|---|---|---|---|"
    )
    phtest(answers)
    for model in ("llama2new", "mistralinstruct"):
        xstest(answers, model)
    print(
        "\n| shipped weights, prompts and answers unseen | n | agreement, % | F1 | four classes, % |\n"
        "|---|---|---|---|---|"
    )
    languages(answers)
    cross_validated_languages(answers)
    print("\n| text | n | called broken, % |\n|---|---|---|")
    salad(data)


def phtest(answers: Sequence[LabelledAnswer]) -> None:
    """Leave out one of PHTest's five models at a time, and always the testing prompts."""
    tested, refusals = [], []
    english = [answer for answer in answers if answer.source != "languages"]
    for model in sorted({answer.model for answer in english if answer.source == "phtest"}):
        kept = [one for one in english if not one.for_testing and one.model != model]
        asked = [one for one in english if one.for_testing and one.model == model]
        found = _refusal(kept, asked)
        row(f"PHTest, {model}", asked, found)
        tested += asked
        refusals.append(found)
    row("**PHTest, all**", tested, np.concatenate(refusals))


def xstest(answers: Sequence[LabelledAnswer], model: str) -> None:
    """Leave out one of XSTest's two models, and the prompts that are asked, whoever answers them."""
    tested, refusals = [], []
    for fold in range(FOLDS):
        asked = [one for one in answers if one.source == "xstest" and one.model == model and _fold(one) == fold]
        prompts = {one.prompt for one in asked}
        kept = [
            one
            for one in answers
            if one.source != "languages" and not one.for_testing and one.model != model and one.prompt not in prompts
        ]
        tested += asked
        refusals.append(_refusal(kept, asked))
    row(f"**XSTest, {model}**", tested, np.concatenate(refusals))


def languages(answers: Sequence[LabelledAnswer]) -> None:
    """Judge the testing part of the other languages."""
    judge = BuiltinJudge()
    tested = [answer for answer in answers if answer.source == "languages" and answer.for_testing]
    for group in [*sorted({one.model for one in tested}), "all"]:
        asked = [one for one in tested if group in (one.model, "all")]
        found = [one.answer_class for one in judge_answers(judge, [Exchange(a.prompt, a.answer) for a in asked])]
        agreement, f1 = _agreement(asked, np.array([one.refuses for one in found]))
        exact = 100 * np.mean([one.value == answer.label for one, answer in zip(found, asked, strict=True)])
        print(f"| {group} | {len(asked)} | {agreement:.1f} | {f1:.1f} | {exact:.1f} |")


def cross_validated_languages(answers: Sequence[LabelledAnswer]) -> None:
    """Judge the training part of the other languages by weights that did not see the prompt, in any answer."""
    kept = [answer for answer in answers if answer.source == "languages" and not answer.for_testing]
    part = np.array([hash_of(answer.prompt) % 997 % LANGUAGE_FOLDS for answer in kept])
    acts = np.stack([answer.features.numbers[len(rule_features.NAMES) :] for answer in kept])
    refusal = np.zeros(len(kept))
    for fold in range(LANGUAGE_FOLDS):
        fitted = fit_languages([answer for answer, place in zip(kept, part, strict=True) if place != fold])
        rows = part == fold
        chances = softmax(acts[rows] @ fitted["languages.weights"] + fitted["languages.intercept"])
        refusal[rows] = chances[:, REFUSING].sum(axis=1)
    agreement, f1 = _agreement(kept, refusal > 0.5)
    print(f"| training part, cross-validated by prompt | {len(kept)} | {agreement:.1f} | {f1:.1f} | |")


def salad(data: Path) -> None:
    """Judge generated salad of a model that is not in the training, and clean text."""
    judge = BuiltinJudge()
    for name, texts in (("salad", read_salad("test")), ("clean", clean_texts(data, testing=True))):
        found = judge_answers(judge, [Exchange("Tell me about it.", text) for text in texts])
        broken = sum(one.answer_class is AnswerClass.BROKEN for one in found)
        print(f"| {name} | {len(texts)} | {100 * broken / len(texts):.2f} |")


def row(title: str, answers: Sequence[LabelledAnswer], refusal: np.ndarray) -> None:
    """Print a line of the table: the learned judgement, and that of the rules alone."""
    agreement, f1 = _agreement(answers, refusal > 0.5)
    by_rules, f1_by_rules = _agreement(answers, np.array([answer.rules_refuse for answer in answers]))
    refuse = sum(answer.refuses for answer in answers)
    print(
        f"| {title} | {len(answers)} | {refuse} | {agreement:.1f} | {f1:.1f} | {by_rules:.1f} | {f1_by_rules:.1f} |",
        flush=True,
    )


def _fold(answer: LabelledAnswer) -> int:
    return hash_of(answer.prompt) % 997 % FOLDS


def _refusal(kept: Sequence[LabelledAnswer], asked: Sequence[LabelledAnswer]) -> np.ndarray:
    arrays, _, _ = fit_english(kept)
    return predict_english(arrays, asked)[:, REFUSING].sum(axis=1)


def _agreement(answers: Sequence[LabelledAnswer], judged: np.ndarray) -> tuple[float, float]:
    wanted = np.array([answer.refuses for answer in answers])
    hits = (judged & wanted).sum()
    return 100 * float((judged == wanted).mean()), 200 * float(hits) / max(1, int(judged.sum() + wanted.sum()))


if __name__ == "__main__":
    main()
