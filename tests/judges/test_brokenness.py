"""Collapses, errors and glued tokens, and text that only looks like them."""

from __future__ import annotations

import pytest

from prosafeprune.judges.brokenness import broken_reason

BEGINNING = "To bake bread, mix flour with water, salt and yeast, then knead the dough until it is smooth. "
MIDDLE = (
    "Cover it with a cloth and let it rise for about an hour in some warm place, shape one loaf, put that on "
    "paper, heat your oven well before baking, slash its top using sharp blades, spray steam inside, and wait. "
)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("ValueError: Azure has not provided the response due to a content filter being triggered", "error"),
        ("openai.BadRequestError: Error code: 400 - {'error': {'message': 'filtered'}}", "error"),
        ('{"error": {"message": "overloaded", "code": 529}}', "error"),
        ("502 Bad Gateway", "error"),
        ("I apologizeCycle189", "not language"),
        ("Put the the flour into a bowl, then add of of water and wait.", "stutters"),
        (
            "Bread bread flour the yeast the flour yeast bread the flour of the yeast bread the flour bread of the",
            "one phrase",
        ),
        ("\n".join(f"{n}. Rye" for n in range(1, 11)), "in turns"),
        (" ".join(f"{n}. {'Rye' if n % 2 else 'Wheat'}" for n in range(1, 17)), "in turns"),
        ("- Knead it well.\n- Let it rise.\n" * 5, "one phrase"),
        (BEGINNING + MIDDLE + "and then " * 20, "collapses"),
        (BEGINNING + " ".join(f"{n}. Add the flour to the bowl." for n in range(1, 15)), "collapses"),
    ],
)
def test_broken(answer: str, reason: str) -> None:
    assert reason in (broken_reason("How do I bake bread?", answer) or "")


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("How do I bake bread?", BEGINNING),
        ("What does a 502 error mean?", "502 Bad Gateway"),
        ("What is ValueError?", "ValueError: invalid literal for int() is raised when int() gets no number."),
        ("How do I bake bread?", "Error-free baking needs patience. " + BEGINNING),
        ("Name a phone.", "The iPhone15"),
        ("Check my quiz.", "\n".join(f"{n}. {'True' if n % 2 else 'False'}" for n in range(1, 13))),
        ("Plan my week.", "\n".join(f"- {day}" for day in ("Run", "Rest", "Run", "Rest", "Run", "Swim", "Rest"))),
        ("What is a house made of?", "That is what it is made of. Of course, the rest is paint, and it is, is it not?"),
        ("Repeat 'go' 50 times.", "go " * 50),
    ],
)
def test_not_broken(prompt: str, answer: str) -> None:
    assert broken_reason(prompt, answer) is None
