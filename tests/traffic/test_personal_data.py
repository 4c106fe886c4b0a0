"""Masking of personal data: recall and false alarms on a log that was made up for it, and the check digits."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from prosafeprune.traffic.personal_data import find_personal_data, iban, luhn, mask

MARKED = re.compile(r"⟦([A-Z]+) (.*?)⟧")
LOG = (Path(__file__).parent / "personal_data.txt").read_text(encoding="utf-8").splitlines()
LINES = [line for line in LOG if not line.startswith("#")]
MISSED = {
    "tom dot hill at example dot org",
    "five five five, oh one oh, four four seven seven",
    "5550104455",
    "correcthorsebattery",
}
"""Of 82 finds: what no pattern can tell from ordinary words and numbers."""
ALARMS = {"+4829104756", "0301 12 34"}
"""In 56 lines without personal data: what looks like a phone number."""


def plain(line: str) -> str:
    return MARKED.sub(lambda found: found[2], line)


def wanted(line: str) -> set[tuple[str, str]]:
    return {(found[1], found[2]) for found in MARKED.finditer(line)}


def found_in(text: str) -> set[tuple[str, str]]:
    return {(kind, text[start:end]) for start, end, kind in find_personal_data(text)}


def test_recall_and_false_alarms_on_the_made_up_log() -> None:
    finds = sum(len(wanted(line)) for line in LINES)
    missed = [(line, one) for line in LINES for one in wanted(line) - found_in(plain(line))]
    alarms = [(line, one) for line in LINES for one in found_in(plain(line)) - wanted(line)]
    clean = sum(not wanted(line) for line in LINES)
    assert (finds, clean) == (82, 56)
    assert {text for _, (_, text) in missed} <= MISSED, missed
    assert {text for _, (_, text) in alarms} <= ALARMS, alarms


@pytest.mark.parametrize("kind", ["EMAIL", "PHONE", "CARD", "IBAN", "KEY"])
def test_each_kind_is_in_the_log(kind: str) -> None:
    assert sum(one[0] == kind for line in LINES for one in wanted(line)) >= 8


def test_what_is_masked_is_counted_and_the_rest_stays() -> None:
    masked, found = mask("From a@example.com: card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00.")
    assert masked == "From [EMAIL]: card [CARD], IBAN [IBAN]."
    assert found == {"EMAIL": 1, "CARD": 1, "IBAN": 1}
    assert mask("How do I kill a process?") == ("How do I kill a process?", {})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("我的邮箱是a@b.com请问如何杀死一个进程", "我的邮箱是[EMAIL]请问如何杀死一个进程"),
        ("メールはa.b@example.co.jpです。", "メールは[EMAIL]です。"),
        ("почта иван@пример.рф", "почта [EMAIL]"),
    ],
)
def test_what_follows_an_address_without_a_space_stays(text: str, masked: str) -> None:
    assert mask(text)[0] == masked


def test_of_overlapping_finds_the_stricter_is_kept_and_all_others_stay_in_order() -> None:
    text = "b@c.org, token: sk-aaaaaaaaaaaaaaaaaaaa1@b.com, 4111 1111 1111 1111 and DE89370400440532013000, c@d.net"
    found = find_personal_data(text)
    assert [kind for *_, kind in found] == ["EMAIL", "KEY", "CARD", "IBAN", "EMAIL"]
    assert all(end <= start for (_, end, _), (start, *_) in pairwise(found))


def test_no_find_in_a_masked_text_is_masked_again() -> None:
    for line in LINES:
        masked, _ = mask(plain(line))
        assert mask(masked)[0] == masked


@pytest.mark.parametrize("digits", ["79927398713", "4111111111111111", "0"])
def test_the_check_digit_of_cards(digits: str) -> None:
    assert luhn(digits)
    assert not any(luhn(digits[:-1] + str((int(digits[-1]) + step) % 10)) for step in range(1, 10))


def test_the_check_digits_of_account_numbers() -> None:
    assert iban("DE89370400440532013000")
    assert not iban("DE88370400440532013000")
    assert not iban("DE8937040044053201300")
    assert not iban("XX89370400440532013000")


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 100_000, "1" * 100_000, "1 " * 50_000, "a@" * 50_000, "a." * 50_000 + "@", "DE" * 50_000),
        *("password is" + " " * 100_000 + ";", "token" + " " * 100_000 + ";", "call " * 20_000, "secret is:" * 10_000),
        "a@b.co " * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_takes_long(text: str) -> None:
    """Patterns that backtrack would need hours here: the test ends."""
    mask(text)
