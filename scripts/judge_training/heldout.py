"""Measure the built-in judge held out by model and by prompt: no model and no prompt of a test is in its training.

    python scripts/judge_training/heldout.py --data DATA

It trains anew for each model left out (some minutes). Other languages and salad are measured with the shipped weights,
whose training has none of the tests' answers. The errors on PHTest are also written, for the pages of runs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from data import (
    PROMPTS_FOR_TESTING,
    PROVIDER_ERROR,
    TESTS,
    TESTS_OF_PHTEST,
    LabelledAnswer,
    hash_of,
    phtest_rows,
    read_all,
)
from fit import fit_english, fit_languages, predict_english
from held_out_results import error_counts, reliability_lines, write_error_rates
from salad import clean_texts, read_salad

from prosafeprune.judges.builtin import BuiltinJudge
from prosafeprune.judges.error_rates import ERROR_RATES_FILE
from prosafeprune.judges.judging import judge_answers
from prosafeprune.judges.learned import rule_features
from prosafeprune.judges.learned.answer_model import REFUSING, softmax
from prosafeprune.judges.verdict import AnswerClass, Exchange

FOLDS = 2
"""Parts of XSTest's prompts; each is judged by weights that saw the other part's prompts only."""
LANGUAGE_FOLDS = 5
DRAWN_BY_GPT4_LABEL = "PHTest, second test"
LEAST_OF_KIND = 4
"""Minimum written answers of a kind that gets a separate line."""


def main() -> None:
    """Print the tables as Markdown, and write the rates of errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--error-rates", type=Path, default=ERROR_RATES_FILE, help="file to write; default: %(default)s"
    )
    options = parser.parse_args()
    data = options.data
    answers = read_all(data)
    print(
        "| answers, model and prompts unseen | n | refuse | agreement, % | F1 | rules alone | F1 |\n"
        "|---|---|---|---|---|---|---|"
    )
    of_phtest, refused = phtest(answers, shares_of_gpt4_labels(data))
    write_error_rates(options.error_rates, errors_by_test(of_phtest, refused))
    both = [xstest(answers, model) for model in ("llama2new", "mistralinstruct")]
    of_xstest, refused_xstest = (
        [one for asked, _ in both for one in asked],
        np.concatenate([found for _, found in both]),
    )
    row("**XSTest, both**", of_xstest, refused_xstest)
    print(
        "\n| shipped weights, prompts and answers unseen | n | agreement, % | F1 | four classes, % |\n"
        "|---|---|---|---|---|"
    )
    languages(answers)
    cross_validated_languages(answers)
    print("\n| text | n | called broken, % |\n|---|---|---|")
    salad(data)
    print("\n| written answers | n | same class | agreement, % | F1 | missed | false |\n|---|---|---|---|---|---|---|")
    fresh()
    print(
        "\n| answers, probability of a refusal, % | n | mean probability, % | labelled refusals, % | agreement, % |\n"
        "|---|---|---|---|---|"
    )
    reliability(of_phtest, refused)
    print(*reliability_lines("XSTest, both", [one.refuses for one in of_xstest], refused_xstest), sep="\n")


def phtest(answers: Sequence[LabelledAnswer], shares: dict[str, float]) -> tuple[list[LabelledAnswer], np.ndarray]:
    """Leave out one of PHTest's five models at a time, and always the testing prompts; print all tests.

    Returns:
        The answers of all tests, and the probability that each refuses.
    """
    asked, refusal = [], []
    english = [answer for answer in answers if answer.source != "languages"]
    for model in sorted({answer.model for answer in english if answer.source == "phtest"}):
        kept = [answer for answer in english if not answer.for_testing and answer.model != model]
        tested = [answer for answer in english if answer.for_testing and answer.model == model]
        asked += tested
        refusal.append(_refusal(kept, tested))
    refused = np.concatenate(refusal)
    for test in TESTS_OF_PHTEST:
        for model in sorted({answer.model for answer in asked}):
            rows = [i for i, answer in enumerate(asked) if answer.test == test and answer.model == model]
            row(f"{test}, {model}", [asked[i] for i in rows], refused[rows])
        rows = [i for i, answer in enumerate(asked) if answer.test == test]
        row(f"**{test}, all**", [asked[i] for i in rows], refused[rows])
        if test == DRAWN_BY_GPT4_LABEL:  # it has more refusals than PHTest: weigh them back to their shares there
            of_test = [asked[i] for i in rows]
            drawn = Counter(answer.gpt4_label for answer in of_test)
            weights = np.array([shares[answer.gpt4_label] / drawn[answer.gpt4_label] for answer in of_test])
            row(f"{test}, weighted as drawn at random", of_test, refused[rows], weights)
    return asked, refused


def errors_by_test(answers: Sequence[LabelledAnswer], refusal: np.ndarray) -> list[dict[str, Any]]:
    """Return the counts of errors of each test of PHTest."""
    counts = []
    for test in TESTS_OF_PHTEST:
        rows = [i for i, answer in enumerate(answers) if answer.test == test]
        labelled, at_random = [answers[i].refuses for i in rows], test != DRAWN_BY_GPT4_LABEL
        counts.append(error_counts(test, labelled, refusal[rows], drawn_at_random=at_random))
    return counts


def reliability(answers: Sequence[LabelledAnswer], refusal: np.ndarray) -> None:
    """Print predicted probabilities against labels: of PHTest's tests that were drawn at random, and of the other."""
    for title, chosen in (("PHTest, drawn at random", False), (DRAWN_BY_GPT4_LABEL, True)):
        rows = [i for i, answer in enumerate(answers) if (answer.test == DRAWN_BY_GPT4_LABEL) is chosen]
        print(*reliability_lines(title, [answers[i].refuses for i in rows], refusal[rows]), sep="\n")


def shares_of_gpt4_labels(data: Path) -> dict[str, float]:
    """Return the share of each of GPT-4's labels among the answers to the testing prompts of PHTest."""
    counts = Counter(
        row["gpt4_label"][0]
        for _, row in phtest_rows(data)
        if hash_of(row["prompt"]) % PROMPTS_FOR_TESTING == 0 and not PROVIDER_ERROR.search(row["completion"])
    )
    return {label: count / counts.total() for label, count in counts.items()}


def xstest(answers: Sequence[LabelledAnswer], model: str) -> tuple[list[LabelledAnswer], np.ndarray]:
    """Leave out one of XSTest's two models, and the prompts that are asked, whoever answers them.

    Returns:
        The answers, and the probability that each refuses.
    """
    tested: list[LabelledAnswer] = []
    refusals = []
    for fold in range(FOLDS):
        asked = [
            answer
            for answer in answers
            if answer.source == "xstest" and answer.model == model and _fold(answer) == fold
        ]
        prompts = {answer.prompt for answer in asked}
        kept = [
            answer
            for answer in answers
            if answer.source != "languages"
            and not answer.for_testing
            and answer.model != model
            and answer.prompt not in prompts
        ]
        tested += asked
        refusals.append(_refusal(kept, asked))
    refused = np.concatenate(refusals)
    row(f"**XSTest, {model}**", tested, refused)
    return tested, refused


def languages(answers: Sequence[LabelledAnswer]) -> None:
    """Judge the testing part of the other languages."""
    judge = BuiltinJudge()
    tested = [answer for answer in answers if answer.source == "languages" and answer.for_testing]
    groups = sorted({(answer.test, answer.model) for answer in tested} | {(answer.test, "all") for answer in tested})
    for test, group in sorted(groups, key=lambda one: (one[0], one[1] == "all")):
        asked = [answer for answer in tested if answer.test == test and group in (answer.model, "all")]
        found = [
            verdict.answer_class for verdict in judge_answers(judge, [Exchange(a.prompt, a.answer) for a in asked])
        ]
        agreement, f1 = _agreement(asked, np.array([answer_class.refuses for answer_class in found]))
        exact = 100 * np.mean(
            [answer_class.value == answer.label for answer_class, answer in zip(found, asked, strict=True)]
        )
        name = f"{group}, {test} test" if test else group
        print(f"| {name} | {len(asked)} | {agreement:.1f} | {f1:.1f} | {exact:.1f} |")


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
    """Judge generated salad by its model and damage, and clean text by its kind; the training has none of either."""
    judge = BuiltinJudge()
    generated: dict[str, list[str]] = {}
    for entry in read_salad("test"):
        generated.setdefault(f"salad, {entry['model']}, {entry['how']}", []).append(entry["answer"])
    for name, texts in (("salad", generated), ("clean", clean_texts(data, testing=True))):
        broken = {kind: _are_broken(judge, of_kind) for kind, of_kind in texts.items()}
        for kind, found in broken.items():
            print(f"| {kind} | {len(found)} | {100 * np.mean(found):.2f} |")
        together = [one for found in broken.values() for one in found]
        print(f"| **{name}, all** | {len(together)} | {100 * np.mean(together):.2f} |")


def fresh() -> None:
    """Judge the written answers that no training has: of new kinds, then in the styles of current models."""
    judge = BuiltinJudge()
    modern = ("test", "second test", "third test", "fourth test")
    of_file = {"judge_fresh.jsonl": ("first", "second"), "judge_modern.jsonl": modern, "judge_kinds.jsonl": ("test",)}
    for file, parts in of_file.items():
        rows = [json.loads(line) for line in (TESTS / file).read_text(encoding="utf-8").splitlines()]
        for part in parts:
            asked = [entry for entry in rows if part in (entry.get("set"), entry.get("part"))]
            verdicts = judge_answers(judge, [Exchange(entry["prompt"], entry["answer"]) for entry in asked])
            found = [verdict.answer_class.value for verdict in verdicts]
            kinds = Counter(entry["kind"] for entry in asked)
            for kind in [*(kind for kind, count in kinds.items() if count >= LEAST_OF_KIND), ""]:
                of_kind = [
                    (entry, value) for entry, value in zip(asked, found, strict=True) if kind in (entry["kind"], "")
                ]
                _fresh_row(f"{file.partition('.')[0]}, {part}, {kind or 'all'}", of_kind)


def _fresh_row(title: str, judged: Sequence[tuple[dict[str, str], str]]) -> None:
    """Print how many answers get their class, and how well refusals are told from the rest."""
    refusing = [answer_class.value for answer_class in AnswerClass if answer_class.refuses]
    pairs = [(entry["label"] in refusing, value in refusing) for entry, value in judged]
    same = sum(entry["label"] == value for entry, value in judged)
    missed, false = pairs.count((True, False)), pairs.count((False, True))
    hits = pairs.count((True, True))
    f1 = 200 * hits / max(1, 2 * hits + missed + false)
    agreement = 100 * (1 - (missed + false) / len(pairs))
    print(f"| {title} | {len(pairs)} | {same} | {agreement:.1f} | {f1:.1f} | {missed} | {false} |")


def _are_broken(judge: BuiltinJudge, texts: Sequence[str]) -> list[bool]:
    found = judge_answers(judge, [Exchange("Tell me about it.", text) for text in texts])
    return [verdict.answer_class is AnswerClass.BROKEN for verdict in found]


def row(title: str, answers: Sequence[LabelledAnswer], refusal: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Print a line of the table: the learned judgement, and that of the rules alone."""
    agreement, f1 = _agreement(answers, refusal > 0.5, weights)
    by_rules, f1_by_rules = _agreement(answers, np.array([answer.rules_refuse for answer in answers]), weights)
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


def _agreement(
    answers: Sequence[LabelledAnswer], judged: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    wanted = np.array([answer.refuses for answer in answers])
    weight = np.ones(len(answers)) if weights is None else weights
    hits = weight @ (judged & wanted)
    both = max(1e-9, float(weight @ judged + weight @ wanted))
    return 100 * float(weight @ (judged == wanted) / weight.sum()), 200 * float(hits) / both


if __name__ == "__main__":
    main()
