"""The number that an answer gives.

math-verify 0.9 agrees with a careful reader on only 62 of the 92 answers in the tests: it picks a number from the
reasoning when there is no final answer, takes the first of two alternatives, and does not parse thousands separators,
mixed fractions or unclosed boxes.
"""

import re
from fractions import Fraction

from prosafeprune.ability.answer_parsing import before_reason, boxes, lines_of, plain, sentence, statements, visible
from prosafeprune.judges.reasoning_text import has_answer_label

AMOUNT = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"(?<![\w.^])(?P<minus>-\s?)?[$€£¥₹]?\s?(?P<inner_minus>-)?"
    rf"(?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?(?P<top>{AMOUNT})(?!\.?\d|\s?\^|\s?(?:\\sqrt|\\pi\b|[√π]))"
    rf"(?:\s*/\s*(?P<bottom>{AMOUNT}))?(?:\s?[×x*]\s?10\s?\^\s?(?P<power>-?\d{{1,2}})(?!\d))?"
    r"(?:\s*(?P<scale>thousand|million|billion)\b|(?P<thousands>[kK])\b)?"
)
MOST_DIGITS = 100
MOST_PLACES = 30
"""Decimal places of a number that is written as a decimal."""
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
POWER = re.compile(r"(?<=[A-Za-z])\s?\^\s?-?\d+")
"""The power of a unit: 18 cm^2."""
BARE_NUMBER = re.compile(rf"^[^\w-]*{NUMBER.pattern}\W*$")
NUMBER_WITH_UNIT = re.compile(rf"^[^\w-]*{NUMBER.pattern}[^\w\n]*(?:[^\W\d]+\W*){{0,3}}$")
"""A line that is a number followed by at most three words: ``$18 per day``."""
STARTS_WITH_NUMBER = re.compile(rf"^[^\w-]*(?:(?:about|approximately|exactly|only|a total of)\s+)?{NUMBER.pattern}")
ANOTHER_NUMBER = re.compile(r"\s*(?:or|and|to|-|/)\s*[$€£]?\d| \d{3}\b|,\d")
"""Also the second group of digits of ``1 000``, and the decimals of ``1,5``."""
CONCLUDES = re.compile(
    r"^\W*(?:so|thus|therefore|hence|in total|in conclusion|finally|altogether|overall|this means)\b", re.I
)


def read_number(text: str) -> Fraction | None:
    """Return the only number in a short text, ignoring currency, unit and percent sign, or None.

    After an equals sign, only what follows counts. Several different numbers are no answer.
    """
    cleaned = POWER.sub("", plain(text))
    for part in reversed(cleaned.split("=")):
        found = {_value(match) for match in NUMBER.finditer(part)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def parse_number(answer: str, *, finished: bool = True) -> Fraction | None:
    r"""Return the number that an answer concludes with, or None when a careful reader would find none.

    The last readable ``\boxed{}`` counts; without one, the last ``The answer is`` or ``####``; without those, a last or
    first line that is only a number, or a last sentence that concludes with one. ``finished`` is False when the answer
    was cut off at the token limit.
    """
    text = visible(answer, finished)
    for box in reversed(boxes(text)):
        number = read_number(box)
        if number is not None:
            return number
    text = plain(text)
    for _, following in reversed(statements(text)):
        number = _announced(following)
        if number is not None:
            return number
    lines = lines_of(text)
    labelled = _before_reason(lines[0]) if lines and has_answer_label(answer) else None
    return labelled if labelled is not None else _from_lines(lines, finished)


def number_text(number: Fraction) -> str:
    """Return a number as text that reads the same: ``18``, ``0.5``, or ``1/3`` where no short decimal is exact."""
    if number.denominator == 1:
        return str(number.numerator)
    places = next((places for places in range(1, MOST_PLACES + 1) if 10**places % number.denominator == 0), None)
    if places is None:
        return str(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    return f"{'-' if number < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > MOST_DIGITS:
        return None
    top = Fraction(match["top"].replace(",", ""))
    bottom = Fraction((match["bottom"] or "1").replace(",", ""))
    if bottom == 0:
        return None
    value = Fraction(match["whole"] or 0) + top / bottom
    value *= 1000 if match["thousands"] else SCALES.get(match["scale"] or "", 1)
    value *= Fraction(10) ** int(match["power"] or 0)
    return -value if match["minus"] or match["inner_minus"] else value


def _announced(following: str) -> Fraction | None:
    """Return the number in what follows ``The answer is``."""
    statement = sentence(following)
    number = _before_reason(statement)
    if number is not None:
        return number
    number = read_number(statement)
    if number is not None or "=" in statement:
        return number
    match = STARTS_WITH_NUMBER.match(statement)
    return _value(match) if match and not ANOTHER_NUMBER.match(statement, match.end()) else None


def _before_reason(statement: str) -> Fraction | None:
    """Return the number with which a text begins that is only a number, or a number and a reason for it."""
    claim = before_reason(statement)
    return read_number(claim) if NUMBER_WITH_UNIT.match(claim) else None


def _from_lines(lines: list[str], finished: bool) -> Fraction | None:
    if not lines:
        return None
    # If the answer was cut off, its last line is only an intermediate step.
    if finished and (NUMBER_WITH_UNIT.match(lines[-1]) or "=" in lines[-1] or CONCLUDES.match(lines[-1])):
        number = read_number(lines[-1])
        if number is not None:
            return number
    return read_number(lines[0]) if len(lines) > 1 and BARE_NUMBER.match(lines[0]) else None
