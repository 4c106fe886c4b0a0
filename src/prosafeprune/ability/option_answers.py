"""The option that an answer to a multiple-choice question chooses."""

import re
from collections.abc import Mapping

from prosafeprune.ability.answer_parsing import before_reason, boxes, lines_of, plain, sentence, statements, visible
from prosafeprune.ability.number_answers import read_number
from prosafeprune.judges.reasoning_text import has_answer_label

PUNCTUATION = re.compile(r"[^\w+*/^=<>%()|.,'-]+|[.,](?=\s|$)")
ARTICLE = re.compile(r"^(?:an?|the)\s+(?=\S)", re.I)
LEAD = r"^[\W_]*(?:(?:(?i:option|choice|answer|letter)\s*(?:is\b)?|X\s*[=:])[\W_]*)?"
"""Also the ``X =`` of the paper's templates, which ask for ``\\boxed{X}``."""
IS_ARTICLE = re.compile(r"\s+(?!(?:because|since|as|for|due|but|which|where|is|in|on|with|from|by)\b)\w")
"""What follows an ``A`` that is a word, not a letter."""
NAMES_A_LETTER = re.compile(r"\b(?:option|choice|letter)\b", re.I)
IS_RIGHT = (
    r"\bis\s+(?:therefore\s+|thus\s+|indeed\s+|clearly\s+)?(?:(?:the\s+)?(?:most\s+)?"
    r"(?:correct|right|best|appropriate|suitable|likely)|the\s+(?:final\s+)?answer)\b"
)


def parse_option(answer: str, options: Mapping[str, str], *, finished: bool = True) -> str | None:
    r"""Return the letter of the option that an answer chooses, or None when a careful reader would find none.

    The last readable ``\boxed{}`` counts, whether it holds the letter, the text, or both; without one, the last
    ``The answer is`` or ``B is correct``; without those, a last or first line that is only an option. A box with two
    options chooses none.

    Args:
        answer: what the model said.
        options: the text of each option by its letter.
        finished: False when the answer was cut off at the token limit.
    """
    text = visible(answer, finished)
    matcher = _OptionMatcher(options)
    for box in reversed(boxes(text)):
        chosen = matcher.boxed(box)
        if chosen:
            return chosen.pop() if len(chosen) == 1 else None
    text = plain(text)
    announced = [(position, matcher.announced(following)) for position, following in statements(text)]
    announced += matcher.called_right(text)
    chosen_letters = [letter for _, letter in sorted(announced, key=lambda found: found[0]) if letter is not None]
    if chosen_letters:
        return chosen_letters[-1]
    lines = lines_of(text)
    labelled = matcher.labelled_answer(lines[0]) if lines and has_answer_label(answer) else None
    return labelled or matcher.from_lines(lines, finished)


class _OptionMatcher:
    """Recognizes the options of one question."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        letter = "|".join(map(re.escape, options))
        self.alone = re.compile(rf"{LEAD}({letter})[\W_]*$", re.I)
        self.labelled = re.compile(rf"{LEAD}({letter})(?:\s*[).:\],*]|\s+[-–—(]|\s+(?=[\w\"'$]))")
        self.another = re.compile(
            rf"\W*?(?:\band\b|\bor\b|[,&/])\W*({letter})(?=\W*$|\s*[).:,;\]]|\s+(?:and|or|are)\b)"
        )
        between = rf"(?:(?!\b(?:{letter})[).:]|\b(?:not|wrong|incorrect|less)\b|n't)[^\n.;]){{0,80}}?"
        self.right = re.compile(
            rf"(?:\b(?i:option|choice|answer|letter)\s+\W?|\()({letter})\b[).:]?\s{between}{IS_RIGHT}|"
            rf"(?:^|(?<=[\s*(]))({letter})(?:[).:]{between})?\s*{IS_RIGHT}",
            re.M,
        )
        self.option_line = re.compile(rf"^\W*(?:{letter})[).:]")

    def boxed(self, box: str) -> set[str]:
        """Return the letters of the options in a box: one, none, or several."""
        # First verbatim: symbols, which the comparison of words ignores, may be what distinguishes two options.
        exact = {letter for letter, option in self.options.items() if _squeezed(option) == _squeezed(box)}
        return exact if len(exact) == 1 and not self.alone.match(plain(box)) else self.named(plain(box))

    def named(self, text: str) -> set[str]:
        """Return the letters of the options that a short text names, by letter or by text: one, none, or several."""
        alone = self.alone.match(text)
        if alone:
            return {next(letter for letter in self.options if letter.lower() == alone[1].lower())}
        return self.by_text(text) or self._by_label(text) or self._by_number(text)

    def by_text(self, text: str) -> set[str]:
        """Return the option with this text; none if two options have it."""
        same = {letter for letter, option in self.options.items() if _normal(option) == _normal(text) != ""}
        return same if len(same) == 1 else set()

    def announced(self, following: str) -> str | None:
        """Return the option in what follows ``The answer is``, unless it is the first of a list of options."""
        line, *below = lines_of(following)
        if self.option_line.match(line) and any(self.option_line.match(other) for other in below[:1]):
            return None
        statement = sentence(line)
        found = self.named(line) if self.alone.match(line) else self.by_text(statement) or self.named(line)
        found = found or self.named(statement) or self._by_opening(statement)
        return found.pop() if len(found) == 1 else None

    def called_right(self, text: str) -> list[tuple[int, str | None]]:
        """Return each position where an option is called correct, with its letter; nothing if several options are."""
        found: list[tuple[int, str | None]] = [
            (match.start(), match[1] or match[2]) for match in self.right.finditer(text)
        ]
        return found if len({letter for _, letter in found}) == 1 else []

    def labelled_answer(self, line: str) -> str | None:
        """Return the option that follows ``Answer:`` at the beginning of a reply: ``B, because ...``."""
        found = self.named(before_reason(line) or line)
        return found.pop() if len(found) == 1 else None

    def from_lines(self, lines: list[str], finished: bool) -> str | None:
        """Return the option that is alone on the last or first line, outside a list of options."""
        # If the answer was cut off, its last line is only an intermediate step.
        ends = [(lines[-1:], lines[-2:-1])] if finished else []
        for here, adjacent in [*ends, (lines[:1], lines[1:2])]:
            listed = any(self.option_line.match(line) for line in adjacent)
            for line in here:
                found = self.named(line) if self.alone.match(line) else self.by_text(line) or self._by_whole_label(line)
                if len(found) == 1 and not listed:
                    return found.pop()
        return None

    def _by_label(self, text: str) -> set[str]:
        """Return the options whose letters a text begins with: ``B) Paris``, ``B and C``."""
        label = self.labelled.match(text)
        if not label:
            return set()
        if self._by_whole_label(text):
            return {label[1]}
        more = self.another.match(text, label.end(1))
        if more:
            return {label[1], more[1]}
        is_article = (
            label[1] == "A"
            and IS_ARTICLE.match(text, label.end(1))
            and not NAMES_A_LETTER.search(text, 0, label.start(1))
        )
        return set() if is_article else {label[1]}

    def _by_whole_label(self, text: str) -> set[str]:
        """Return the option that a text gives by letter and text: ``B) Paris``."""
        label = self.labelled.match(text)
        return {label[1]} if label and _normal(text[label.end() :]) == _normal(self.options[label[1]]) else set()

    def _by_number(self, text: str) -> set[str]:
        number = read_number(text)
        equal = {letter for letter, option in self.options.items() if read_number(option) == number}
        return equal if number is not None and len(equal) == 1 else set()

    def _by_opening(self, text: str) -> set[str]:
        """Return the option whose text begins a sentence, the longest if there are several."""
        words = _normal(text)
        found = {
            letter: len(_normal(option))
            for letter, option in self.options.items()
            if re.match(rf"{re.escape(_normal(option))}(?!\w)(?! or | and )", words)
        }
        longest = {letter for letter, length in found.items() if length == max(found.values())}
        return longest if len(longest) == 1 else set()


def _squeezed(text: str) -> str:
    return "".join(text.lower().split())


def _normal(text: str) -> str:
    """Return the words of a text in lower case, without article, markup and surrounding punctuation."""
    words = PUNCTUATION.sub(" ", plain(text).lower()).strip(" .,'()*")
    return " ".join(ARTICLE.sub("", words).split())
