"""Masking of e-mail addresses, phone numbers, keys, bank cards and account numbers (IBAN).

Names and postal addresses are not recognised. Recall and false alarms on a log made up for it are tested in
``tests/traffic/test_personal_data.py``.
"""

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from operator import itemgetter

Span = tuple[int, int, str]
"""Where in a text something begins and ends, and what it is."""

_LETTER = "A-Za-z0-9\u00c0-\u024f\u0370-\u052f"
"""Letters and digits, without those of Chinese and the like, where words run into addresses."""
_DOT = r"(?:\.|\s?(?:\[dot\]|\(dot\))\s?)"
EMAIL = re.compile(
    rf"(?<![{_LETTER}.+_-])[{_LETTER}.+%'_-]{{1,64}}(?:@|\s?(?:\[at\]|\(at\))\s?)"
    rf"(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?{_DOT}){{1,5}}"
    rf"(?:[A-Za-z]{{2,24}}(?![{_LETTER}_@])|[^\W\d_]{{2,24}}(?![{_LETTER}_@]))"  # Chinese may follow directly
)
PREFIXED_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:sk|pk|rk)[-_](?:[A-Za-z]{2,10}[-_]){0,3}[A-Za-z0-9_-]{16,200}"  # OpenAI, Anthropic, Stripe
    r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{30,255}|glpat-[\w-]{20,64}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,400}"  # AWS, Google
    r"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,400}|dop_v1_[a-f0-9]{64}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,250}|SG\.[\w-]{16,32}\.[\w-]{16,64}"  # Slack, SendGrid
    r"|eyJ[\w-]{8,2000}\.eyJ[\w-]{8,4000}\.[\w-]{8,2000}"  # JSON web token
    r")(?![A-Za-z0-9_-])"
)
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,10000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.S
)
NAMED_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])(?:api[_ -]?key|secret(?:[_ -]?(?:access[_ -]?)?key)?|access[_ -]?(?:key|token)|auth[_ -]?token"
    r"|token|password|passwd|pwd|passphrase|bearer)[\"'`]?(?:\s*(?:=>?|:)\s*|\s+(?:is|was)(?:\s*:)?\s+|\s+)[\"'`]?"
    r"(?P<value>[^\s\"'`,;<>(){}\[\]]{6,400}+)(?!\()"  # not a call of a function
)
DIGITS = re.compile(r"\d")
CARD = re.compile(r"(?<![A-Za-z0-9_.+-])[2-6](?:[ -]?\d){11,18}(?![\d-]|\.\d)")
IBAN = re.compile(r"(?<![A-Za-z0-9_])([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")
_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 "
    "RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}
_AFTER_PHONE = r"(?![A-Za-z0-9_%]|[.,:/-]\d| \d)"
PHONE = re.compile(
    r"(?<![A-Za-z0-9_.,:/#=$€£-])(?<!\d )(?:"
    r"(?:\+|00)[1-9](?:[ ().\u00a0/-]{0,3}\d){6,14}"  # international
    r"|(?:1[ .-])?\(?[2-9]\d{2}\)?[ .-]\d{3}[ .-]\d{4}"  # North America
    r"|\(?0[1-9]\d{0,4}\)?(?:[ ./-]{1,2}\d{2,8}){1,5}"  # national, with the prefix 0
    r"|0[1-9]\d{8,9}"
    r"|1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # mobile in China
    r"|[6-9]\d{4}[ -]\d{5}"  # mobile in India
    rf"){_AFTER_PHONE}"
)
NEAR_PHONE = re.compile(
    r"(?i)(?<![a-z])(?:phone|mobile|cell|call(?: me)?|text(?: me)?|ring|fax|whatsapp|telegram|sms|tel|reach me|dial"
    r"|(?:my|his|her|their) number is)\W{1,3}(?:[^\W\d]+\W{1,2}){0,3}"
    rf"(?<![A-Za-z0-9_-])(?P<value>\d(?:[ .-]?\d){{6,13}}){_AFTER_PHONE}"
)
DATE = re.compile(r"(?:0?[1-9]|[12]\d|3[01])[ ./-](?:0?[1-9]|1[0-2])[ ./-](?:19|20)?\d{2}")
CARD_LENGTHS = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}
LEAST_SECRET_BITS = 2.5
"""Entropy of the characters of a secret: words have less when they are short."""


def mask(text: str) -> tuple[str, Counter[str]]:
    """Return a text with ``[EMAIL]``, ``[PHONE]``, ``[KEY]``, ``[CARD]`` or ``[IBAN]`` for each find; count these."""
    found = find_personal_data(text)
    parts, end = [], 0
    for start, stop, kind in found:
        parts += [text[end:start], f"[{kind}]"]
        end = stop
    return "".join([*parts, text[end:]]), Counter(kind for _, _, kind in found)


def find_personal_data(text: str) -> list[Span]:
    """Return what would be masked, in order; where two finds overlap, the kind that is checked more strictly."""
    kept: list[Span] = []  # sorted; none overlap, so a new one can only overlap its neighbours
    for start, end, kind in chain.from_iterable(find(text) for find in _finders(text)):
        place = bisect_left(kept, start, key=itemgetter(0))
        is_free_before = place == 0 or kept[place - 1][1] <= start
        is_free_after = place == len(kept) or end <= kept[place][0]
        if is_free_before and is_free_after:
            kept.insert(place, (start, end, kind))
    return kept


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1)."""
    total = sum(
        sum(divmod(2 * int(digit), 10)) if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))
    )
    return total % 10 == 0


def iban(text: str) -> bool:
    """Return whether a text without spaces has the length and check digits of an account number (ISO 13616)."""
    moved = (text[4:] + text[:4]).upper()
    return (
        len(text) == IBAN_LENGTHS.get(text[:2].upper())
        and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1
    )


def _finders(text: str) -> Iterator[Callable[[str], Iterator[Span]]]:
    """Yield what searches a text, the strictest first; what cannot be in it is left out."""
    yield _keys
    if "@" in text or "at]" in text or "at)" in text:
        yield _emails
    if DIGITS.search(text):
        yield from (_ibans, _cards, _phones)


def _keys(text: str) -> Iterator[Span]:
    for pattern in (PRIVATE_KEY, PREFIXED_KEY):
        yield from ((*found.span(), "KEY") for found in pattern.finditer(text))
    for found in NAMED_SECRET.finditer(text):
        value = found["value"].rstrip(".!?:")
        if _is_secret(value):
            yield found.start("value"), found.start("value") + len(value), "KEY"


def _is_secret(value: str) -> bool:
    """Return whether a word after "password" or the like is no ordinary word: it mixes letters with digits."""
    mixed = any(character.isdigit() for character in value) and any(character.isalpha() for character in value)
    return mixed and not value.startswith(("http:", "https:", "[")) and _bits(value) >= LEAST_SECRET_BITS


def _bits(value: str) -> float:
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _emails(text: str) -> Iterator[Span]:
    yield from ((*found.span(), "EMAIL") for found in EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[Span]:
    for found in IBAN.finditer(text):
        length = IBAN_LENGTHS.get(found[1].upper(), 0)
        exact = re.compile(rf"[A-Za-z0-9](?:[ -]?[A-Za-z0-9]){{{length - 1}}}(?![A-Za-z0-9])") if length else None
        number = exact.match(text, found.start()) if exact is not None else None
        if number is not None and iban(re.sub("[ -]", "", number[0])):
            yield *number.span(), "IBAN"


def _cards(text: str) -> Iterator[Span]:
    for found in CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if len(digits) in CARD_LENGTHS[digits[0]] and len(set(digits)) > 1 and luhn(digits):
            yield *found.span(), "CARD"


def _phones(text: str) -> Iterator[Span]:
    for found in PHONE.finditer(text):
        count = sum(character.isdigit() for character in found[0])
        if 8 <= count <= 15 and not DATE.fullmatch(found[0].strip()):
            yield *found.span(), "PHONE"
    yield from ((*found.span("value"), "PHONE") for found in NEAR_PHONE.finditer(text))
