r"""What a reader sees of an answer: LaTeX and Markdown taken away, and the places where a final answer stands."""

from __future__ import annotations

import re

from prosafeprune.judge.reasoning_text import spoken_part

BOX = re.compile(r"\\?\b(?:boxed|fbox)\s*\{")
FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|mbox|hbox|boldsymbol|bm|underline|emph|boxed|fbox)"
    r"\s*\{([^{}]*)\}"
)
LEFT_OVER = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it))(?![A-Za-z])|[{}]")
SMALL_SPACE = re.compile(r"(?<=\d)(?:\\[,!]|\{,\}|[\u202f\u2009\u00a0])(?=\d)")
"""What LaTeX and typesetters put between thousands."""
REWRITTEN = [
    (re.compile(r"\\(?:left|right|displaystyle|bf|rm|it|bfseries|Large|large|[()\[\]])(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "×"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:approx|equiv|simeq)(?![A-Za-z])"), "="),
    (re.compile(r"\\(?:pounds)(?![A-Za-z])"), "£"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|°"), ""),
    (re.compile(r"\\q?quad(?![A-Za-z])|\\[,;:! ]|~"), " "),
    (re.compile(r"\\([$%&#_{}])"), r"\1"),
    (re.compile(r"[−–](?=\s?[\d$.])"), "-"),
    (re.compile(r"\*\*|__|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)"), ""),
]
CUT_END = re.compile(r"(?:\d[\d.,]*|\w+)\Z")
STATEMENT = re.compile(
    r"####|"
    r"\b(?:answer|solution|(?:correct|right|best|final|chosen|suitable|appropriate|likely|logical)\s+(?:choice|option))\b"
    r"(?:\s+(?:to|for|among|from)\b[^\n.:?]{0,60}?|\s+here|\s*\([^()\n]*\))?"
    r"\s*(?:\bis\b|\bwould be\b|\bshould be\b|\bmust be\b|:|=)(?:\s*:)?|"
    r"^[\W\d]*(?:the\s+)?(?:final|correct)?\s*answer\W*$",
    re.I | re.M,
)
"""The words that announce a final answer: ``The answer to the question is``, ``Final answer:``, ``### Answer``."""
SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|\n")


def visible(answer: str, finished: bool) -> str:
    """Return what an answer says to the user; of a cut one without the last word or number, which may go on."""
    spoken = spoken_part(answer)
    return spoken if finished else CUT_END.sub("", spoken)


def boxes(text: str) -> list[str]:
    r"""Return what stands in each ``\boxed{...}``, in order, braces matched; one left open ends with its line."""
    found = []
    for opening in BOX.finditer(text):
        depth, end = 1, opening.end()
        while end < len(text) and depth:
            character = text[end]
            if character == "\\":
                end += 1  # an escaped brace opens and closes nothing
            elif character in "{}":
                depth += 1 if character == "{" else -1
            end += 1
        found.append(text[opening.end() : end - 1] if not depth else text[opening.end() :].split("\n")[0])
    return found


def plain(text: str) -> str:
    r"""Return text without LaTeX and Markdown: ``\text{B}`` is ``B``, ``\frac{1}{2}`` is ``1/2``."""
    text = SMALL_SPACE.sub("", text)
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    before = ""
    while before != text:
        before = text
        text = WRAPPER.sub(r"\1", text)
        text = FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
    return LEFT_OVER.sub("", text)


def statements(text: str) -> list[tuple[int, str]]:
    """Return where each announced final answer stands in a plain text, with what follows, in order.

    What is announced by a heading or at the end of a line stands on the next line that is not empty.
    """
    found = [(match.start(), text[match.end() :].lstrip(" \t:*_").strip()) for match in STATEMENT.finditer(text)]
    return [(place, rest) for place, rest in found if rest]


def sentence(text: str) -> str:
    """Return the first sentence of a text; the point of a decimal number ends none."""
    return SENTENCE_END.split(text, maxsplit=1)[0].strip()


def lines_of(text: str) -> list[str]:
    """Return the lines of a plain text that are not empty."""
    return [line.strip() for line in text.split("\n") if line.strip()]
