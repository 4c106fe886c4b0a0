"""Answers made to be slow or impossible to read: models loop, and servers send what they like."""

from __future__ import annotations

import time

import pytest

from prosafeprune.ability.answer_parsing import boxes
from prosafeprune.ability.number_answers import number_text, parse_number, read_number
from prosafeprune.ability.option_answers import parse_option

MANY = 20_000
HOSTILE = [
    *(r"\boxed{", r"\boxed{1}", r"\text{", r"\frac{1}", r"\frac", "{", "}", "\\", "^", "^ ", "the answer is ", "#### "),
    *(
        "answer (",
        "answer:\n",
        "\n",
        " \n",
        "! \n",
        "*",
        "**",
        "a",
        "1",
        "1 ",
        "1,",
        "1/",
        "- ",
        "$",
        "=",
        ". ",
        "so 1",
    ),
    *("B is correct. ", "B) ", "A or ", "(B)\n", "option B ", "\u00b2", "<", "[", "thinking>"),
]


@pytest.mark.long
@pytest.mark.parametrize("part", HOSTILE)
def test_repetitions_take_no_more_than_linear_time(part: str) -> None:
    began = time.process_time()
    for end in ("", "x"):
        parse_number(part * MANY + end, finished=not end)
        parse_option(part * MANY + end, {"A": "London", "B": "Paris"}, finished=not end)
    assert time.process_time() - began < 5


def test_the_last_of_many_boxes_is_read() -> None:
    assert parse_number(r"\boxed{5} " * 500 + r"\boxed{18} \boxed{none}") == 18
    assert boxes(r"\boxed{a \{ {b} \boxed{c}} } \boxed{d") == [r"a \{ {b} \boxed{c}", "c", "d"]


@pytest.mark.parametrize("number", ["9" * 5000, "1/" + "3" * 5000, "0." + "1" * 5000, "9" * 5000 + " million"])
def test_numbers_of_thousands_of_digits_are_no_answer(number: str) -> None:
    assert parse_number(rf"\boxed{{{number}}}") is None
    largest = read_number("9" * 90 + ".5")
    assert largest is not None
    assert number_text(largest)
