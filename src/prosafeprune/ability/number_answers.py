"""The number that an answer gives."""

from __future__ import annotations

import re
from fractions import Fraction

from prosafeprune.ability.answer_text import boxes, lines_of, plain, sentence, statements, visible

AMOUNT = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
NUMBER = re.compile(
    rf"(?<![\w.^])(?P<minus>-\s?)?[$€£¥₹]?\s?(?P<inner_minus>-)?"
    rf"(?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?(?P<top>{AMOUNT})(?:\s*/\s*(?P<bottom>{AMOUNT}))?"
    r"(?:\s*(?P<scale>thousand|million|billion)\b|(?P<thousands>[kK])\b)?"
)
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
POWER = re.compile(r"(?<=[A-Za-z])\s?\^\s?-?\d+")
"""Of a unit: 18 cm^2."""
BARE_NUMBER = re.compile(rf"^[^\w-]*{NUMBER.pattern}\W*$")
NUMBER_WITH_UNIT = re.compile(rf"^[^\w-]*{NUMBER.pattern}[^\w\n]*(?:[^\W\d]+\W*){{0,3}}$")
"""A line that is a number with at most three words behind it: ``$18 per day``."""
STARTS_WITH_NUMBER = re.compile(rf"^[^\w-]*(?:(?:about|approximately|exactly|only|a total of)\s+)?{NUMBER.pattern}")
ANOTHER_NUMBER = re.compile(r"\s*(?:or|and|to|-|/)\s*[$€£]?\d")
CONCLUDES = re.compile(
    r"^\W*(?:so|thus|therefore|hence|in total|in conclusion|finally|altogether|overall|this means)\b", re.I
)


def read_number(text: str) -> Fraction | None:
    """Return the one number in a short text, whatever its currency, unit or percent sign, or None.

    Behind an equals sign, what follows counts. Several different numbers are no answer.
    """
    cleaned = POWER.sub("", plain(text))
    for part in reversed(cleaned.split("=")):
        found = {_value(match) for match in NUMBER.finditer(part)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def parse_number(answer: str, *, finished: bool = True) -> Fraction | None:
    r"""Return the number an answer to a question ends with, or None when a careful reader finds none.

    The last readable ``\boxed{}`` counts; without one the last ``The answer is`` or ``####``; without those a last or
    first line that is nothing but a number, or a last sentence that concludes with one.
    """
    text = visible(answer, finished)
    for box in reversed(boxes(text)):
        number = read_number(box)
        if number is not None:
            return number
    text = plain(text)
    for _, rest in reversed(statements(text)):
        number = _announced(rest)
        if number is not None:
            return number
    return _from_lines(lines_of(text), finished)


def number_text(number: Fraction) -> str:
    """Return a number as it is written: ``18``, ``0.5``, or ``1/3`` where no decimal is exact."""
    if number.denominator == 1:
        return str(number.numerator)
    rest = number.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return f"{float(number):.12g}" if rest == 1 else str(number)


def _value(match: re.Match[str]) -> Fraction | None:
    top = Fraction(match["top"].replace(",", ""))
    bottom = Fraction((match["bottom"] or "1").replace(",", ""))
    if bottom == 0:
        return None
    value = Fraction(match["whole"] or 0) + top / bottom
    value *= 1000 if match["thousands"] else SCALES.get(match["scale"] or "", 1)
    return -value if match["minus"] or match["inner_minus"] else value


def _announced(rest: str) -> Fraction | None:
    """Return the number in what follows ``The answer is``."""
    said = sentence(rest)
    number = read_number(said)
    if number is not None or "=" in said:
        return number
    match = STARTS_WITH_NUMBER.match(said)
    return _value(match) if match and not ANOTHER_NUMBER.match(said, match.end()) else None


def _from_lines(lines: list[str], finished: bool) -> Fraction | None:
    if not lines:
        return None
    # Where an answer was cut, its last line is a step on the way and nothing more.
    if finished and (NUMBER_WITH_UNIT.match(lines[-1]) or "=" in lines[-1] or CONCLUDES.match(lines[-1])):
        number = read_number(lines[-1])
        if number is not None:
            return number
    return read_number(lines[0]) if len(lines) > 1 and BARE_NUMBER.match(lines[0]) else None
