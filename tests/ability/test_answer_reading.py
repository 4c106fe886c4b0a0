"""What a careful reader takes from answers to multiple-choice and arithmetic questions."""

from __future__ import annotations

from fractions import Fraction

import pytest

from prosafeprune.ability.number_answers import number_text, parse_number, read_number
from prosafeprune.ability.option_answers import parse_option

CITIES = {"A": "London", "B": "Paris", "C": "bank", "D": "New York", "E": "a department store"}
AMOUNTS = {"A": "0", "B": "1 mA.", "C": "$2,500", "D": "1/2"}

NUMBERS = {
    # boxes
    r"So she makes \boxed{18} dollars.": 18,
    r"\boxed{18.0}": 18,
    r"\boxed{7^2}": None,
    r"\boxed{72^2}": None,
    r"7^2 = \boxed{7^2 = 49}": 49,
    "The answer is 1 000.": None,
    "The answer is 12,50 euros.": None,
    r"\boxed{18.}": 18,
    r"First \boxed{5}, and in the end \boxed{18}": 18,
    r"\boxed{18}" + "\n\nThe answer is 20.": 18,
    r"$\boxed{\$18}$": 18,
    r"$$\boxed{18}$$": 18,
    r"\boxed{\text{18 eggs}}": 18,
    r"\boxed{18 \text{ dollars per day}}": 18,
    r"\boxed{\mathrm{18}}": 18,
    r"\boxed{\textbf{18}}": 18,
    r"\boxed{\mathbf{\text{18}}}": 18,
    r"\boxed{2,125}": 2125,
    r"\boxed{2{,}125}": 2125,
    r"\boxed{2\,125}": 2125,
    r"\boxed{2,\!125}": 2125,
    r"\boxed{2{,}\!125}": 2125,
    r"\boxed{1.5 \times 10^3}": 1500,
    r"\boxed{2 \cdot 10^{-2} \text{ m}}": Fraction(1, 50),
    r"\boxed{5\sqrt{2}}": None,
    r"\boxed{2\pi}": None,
    r"\boxed{\$114,200.00}": 114200,
    r"\boxed{1,234,567}": 1234567,
    r"\boxed{70k}": 70000,
    r"\boxed{1.5 \text{ million}}": 1500000,
    r"\boxed{20\%}": 20,
    r"\boxed{20%}": 20,
    r"\boxed{-10}": -10,
    r"\boxed{−10}": -10,
    r"\boxed{-\$10}": -10,
    r"\boxed{$-10$}": -10,
    r"\boxed{(-10)}": -10,
    r"\boxed{\frac{1}{2}}": Fraction(1, 2),
    r"\boxed{\dfrac12}": Fraction(1, 2),
    r"\boxed{-\frac{3}{4}}": Fraction(-3, 4),
    r"\boxed{2\frac{1}{2}}": Fraction(5, 2),
    r"\boxed{2 1/2 cups}": Fraction(5, 2),
    r"\boxed{1/2}": Fraction(1, 2),
    r"\boxed{.5}": Fraction(1, 2),
    r"\boxed{0.50}": Fraction(1, 2),
    r"\boxed{x = 18}": 18,
    r"\boxed{16 - 3 + 5 = 18}": 18,
    r"\boxed{18 = x}": 18,
    r"\boxed{18 \text{ cm}^2}": 18,
    r"\boxed{18^\circ}": 18,
    r"\boxed{18 \text{ or } 18.00}": 18,
    r"\boxed{\boxed{18}}": 18,
    r"\boxed{ 18 }.": 18,
    r"\fbox{18}": 18,
    r"\boxed{18 (eighteen)}": 18,
    r"\boxed{18 or 20}": None,
    r"\boxed{3 \times 6}": None,
    r"\boxed{5:30}": None,
    r"\boxed{1/0}": None,
    r"\boxed{X}": None,
    r"The answer is 18. \boxed{X}": 18,
    r"\boxed{}": None,
    "\\boxed{18": 18,
    # announced
    "The answer is 18.": 18,
    "The answer is: 18": 18,
    "The final answer is $18.50.": Fraction(37, 2),
    "**Answer: 18**": 18,
    "**Final Answer:** 18 eggs": 18,
    "### Final Answer\n\n18": 18,
    "Final answer:\n\n$18$": 18,
    "The final answer is 18 dollars a day.": 18,
    "The answer to the question is 9 * 2 = 18.": 18,
    "The answer is 18 dollars for 9 eggs.": 18,
    "First the answer is 5. No, the answer is 18.": 18,
    "She sells 9.\n#### 18": 18,
    "#### 2,125": 2125,
    "#### $18 per day": 18,
    "The answer is 18 or 20.": None,
    "The answer is 18, since 16 - 3 - 4 = 9 are sold at $2 each.": 18,
    "The answer is therefore 18.": 18,
    "Answer: 18\n\nShe has 16 - 3 - 4 = 9 eggs.\nSo she has 9 eggs to sell.": 18,
    "Answer: 18 dollars, because she sells 9 eggs.": 18,
    "Answer: She has 16 - 3 - 4 = 9 eggs.\nSo she makes $18.": 18,
    "Answer: 16 eggs are laid, and 9 of them are sold.\nSo she makes $18.": 18,
    r"Final Answer: \boxed{X} where X = 18": 18,
    r"So \(\boxed{18}\) is what she makes.": 18,
    "9 eggs\n\nThat is all there are of them.": None,
    "The answer is -3.": -3,
    # lines
    "She sells 9 eggs for $2 each.\n\n18": 18,
    "She sells 9 eggs.\n\n**$18**": 18,
    "She sells 9 eggs.\n18 dollars.": 18,
    "18\n\nShe sells 9 eggs for $2 each, all her eggs.": 18,
    "9 * 2 = 18": 18,
    "She sells 9 eggs.\nTherefore, Janet makes $18 every day.": 18,
    "She sells 9 eggs.\nSo Janet makes **$18** every day.": 18,
    # nothing to read
    "She sells 9 eggs for $2 each.": None,
    "I cannot answer that.": None,
    "": None,
    "What the answer is depends on the eggs.": None,
    "So there are 9 eggs for $2 each.": None,
    # thoughts do not count
    r"<think>It is \boxed{20}.</think>\boxed{18}": 18,
    r"<think>It is \boxed{20}.</think>": None,
    r"<think>It is \boxed{20}, or is it": None,
}
CUT_NUMBERS = {
    r"so \boxed{18}": 18,
    r"so \boxed{1": None,
    "The answer is 18": None,
    "The answer is 18 dollars a d": 18,
    "We add 9 and 9.\n9 + 9 = 18": None,
    "9 eggs\n18\n": None,
}
OPTIONS = {
    # boxes
    r"\boxed{B}": "B",
    r"\boxed{b}": "B",
    r"\boxed{(B)}": "B",
    r"\boxed{B.}": "B",
    r"\boxed{B)}": "B",
    r"\boxed{B. Paris}": "B",
    r"\boxed{B) Paris}": "B",
    r"\boxed{B: Paris}": "B",
    r"\boxed{B - Paris}": "B",
    r"\boxed{B (Paris)}": "B",
    r"\boxed{B Paris}": "B",
    r"\boxed{(B) Paris}": "B",
    r"\boxed{\text{B}}": "B",
    r"\boxed{\text{(B) Paris}}": "B",
    r"\boxed{\textbf{B}}": "B",
    r"\boxed{\mathrm{B}}": "B",
    r"\boxed{**B**}": "B",
    r"\boxed{Option B}": "B",
    r"\boxed{\text{Option B: Paris}}": "B",
    r"\boxed{Answer: B}": "B",
    r"\boxed{X = B}": "B",
    r"\boxed{\text{X = A}}": "A",
    r"\boxed{Paris}": "B",
    r"\boxed{\text{paris.}}": "B",
    r"\boxed{A bank}": "C",
    r"\boxed{the bank}": "C",
    r"\boxed{department store}": "E",
    r"\boxed{New\ York}": "D",
    r"$\boxed{\text{E}}$": "E",
    r"It is not \boxed{A}. The answer is \boxed{B}.": "B",
    r"\boxed{B}" + "\nExplanation: the answer is A for London.": "B",
    r"The answer is B. \boxed{X}": "B",
    r"The correct answer is B. \boxed{Lyon}": "B",
    r"\boxed{B, C}": None,
    r"\boxed{B and C}": None,
    r"\boxed{A or B}": None,
    r"\boxed{A lot of people}": None,
    r"\boxed{F}": None,
    r"\boxed{None}": None,
    "\\boxed{B": "B",
    # announced
    "The answer is B.": "B",
    "The answer is (B).": "B",
    "The answer is **B**.": "B",
    "The correct answer is **B. Paris**.": "B",
    "The correct option is B) Paris, since it lies on the Seine.": "B",
    "The best choice is: B": "B",
    "So the right answer to this question is B, Paris.": "B",
    "**Answer: B**\n\nThe others are A. London and so on.": "B",
    "Answer: B": "B",
    "Answer: (B) because Paris lies on the Seine.": "B",
    "Answer: B. Paris lies on the Seine.\n\nThe others do not.": "B",
    "Answer: Paris, because it lies on the Seine.": "B",
    "Answer: A lot of people live in London.\n\nB": "B",
    "Answer: London is large. Paris lies on the Seine, so the answer is B.": "B",
    "The answer is A because London is large.": "A",
    "The correct answer is **A** since London is large.": "A",
    "The answer is option A which is large.": "A",
    "The answer is therefore (B).": "B",
    "The correct answer is most likely B.": "B",
    "Therefore, B is the answer.": "B",
    "Option B is the answer, since A is not.": "B",
    "### Final Answer\nB. Paris": "B",
    "**Final Answer**\n\nB": "B",
    "The answer is Paris.": "B",
    "The answer is a bank, where money is kept.": "C",
    "The answer is a bank.": "C",
    "The correct answer is 'New York'.": "D",
    "B is the correct answer.": "B",
    "B) Paris is the correct answer.": "B",
    "So option B is correct.": "B",
    "Therefore, the most suitable place is a shop, so (C) bank is the best choice.": "C",
    "The answer is A. No: the answer is B.": "B",
    "#### B": "B",
    "The answer is B, A city on the Seine.": "B",
    "A) London is large. B) Paris is the correct answer.": "B",
    "A) London, B) Paris is the correct one.": "B",
    "Option A is wrong, for London is the most likely to rain.": None,
    "The answer is B or C.": None,
    "Both B and C are right.": None,
    "The answer is not clear.": None,
    "The answer is London or Paris.": None,
    # lines
    "It lies on the Seine.\n\nB": "B",
    "It lies on the Seine.\n\n(B)": "B",
    "It lies on the Seine.\n**B. Paris**": "B",
    "It lies on the Seine.\nParis": "B",
    "B. Paris\n\nIt lies on the Seine.": "B",
    "B\n\nIt lies on the Seine.": "B",
    # nothing to read
    "Let us go through each option:\n\nA. London: large.\nB. Paris: large.": None,
    "A. London is the correct answer.\nB. Paris is the correct answer.\n\nFinal Answer:": None,
    "Each possible answer:\nA. London\nB. Paris": None,
    "A. London\nB. Paris\nC. bank\nD. New York\nE. a department store": None,
    "A city is a large place, and I am not sure which of them you mean.": None,
    "Option A is not correct.": None,
    "": None,
    r"<think>\boxed{A}</think>\boxed{B}": "B",
}
CUT_OPTIONS = {
    r"so \boxed{B}": "B",
    "The answer is B.": "B",
    "The answer is B": None,
    "Let us think.\nParis\n": None,
}


@pytest.mark.parametrize(("answer", "number"), NUMBERS.items())
def test_numbers_are_read_as_a_careful_reader_would(answer: str, number: Fraction | int | None) -> None:
    assert parse_number(answer) == number


@pytest.mark.parametrize(("answer", "number"), CUT_NUMBERS.items())
def test_the_end_of_a_cut_answer_is_no_number(answer: str, number: int | None) -> None:
    assert parse_number(answer, finished=False) == number


@pytest.mark.parametrize(("answer", "letter"), OPTIONS.items())
def test_options_are_read_as_a_careful_reader_would(answer: str, letter: str | None) -> None:
    assert parse_option(answer, CITIES) == letter


@pytest.mark.parametrize(("answer", "letter"), CUT_OPTIONS.items())
def test_the_end_of_a_cut_answer_is_no_option(answer: str, letter: str | None) -> None:
    assert parse_option(answer, CITIES, finished=False) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    {
        r"\boxed{0}": "A",
        r"\boxed{1 \text{ mA}}": "B",
        r"\boxed{1}": "B",
        r"\boxed{2500}": "C",
        r"\boxed{\frac{1}{2}}": "D",
        r"\boxed{0.5}": "D",
        r"\boxed{3}": None,
        r"\boxed{B}": "B",
        r"\boxed{B. 0}": "B",
        "So we have 2 and 2.\nThat makes 0 in all.": None,
    }.items(),
)
def test_options_that_are_numbers_are_known_by_value(answer: str, letter: str | None) -> None:
    assert parse_option(answer, AMOUNTS) == letter


def test_options_that_differ_in_a_symbol_or_not_at_all() -> None:
    formulas = {"A": "(L • H) ≡ I", "B": "(L • H) ∨ I", "C": "~Pd", "D": "Pd"}
    assert [parse_option(rf"\boxed{{{text}}}", formulas) for text in formulas.values()] == list("ABCD")
    assert parse_option(r"\boxed{mortal}", {"A": "mortal", "B": "dying", "C": "mortal"}) is None
    assert parse_option(r"\boxed{B}", {"A": "B", "B": "A"}) == "B"  # blood groups, say: the letter was asked for


@pytest.mark.parametrize(
    ("number", "text"),
    [(Fraction(18), "18"), (Fraction(-10), "-10"), (Fraction(1, 2), "0.5"), (Fraction(1, 3), "1/3"), (None, None)]
    + [(Fraction(-1, 100_000), "-0.00001"), (Fraction("123456789012.5"), "123456789012.5")],
)
def test_numbers_are_written_so_that_they_read_the_same(number: Fraction | None, text: str | None) -> None:
    if number is not None:
        assert number_text(number) == text
        assert read_number(number_text(number)) == number
    assert read_number("no number") is None
