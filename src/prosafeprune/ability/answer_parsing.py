r"""The parts of an answer that may hold its final answer, without LaTeX and Markdown.

Everything here takes time linear in the length of the answer: answers come from models and servers.
"""

import bisect
import re

from prosafeprune.judges.reasoning_text import spoken_part

BRACE = re.compile(r"\\.|[{}]", re.S)
"""Or an escaped character, such as a brace that opens and closes nothing."""
BOX = re.compile(r"\\?\b(?:boxed|fbox)\s*\{")
FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|mbox|hbox|boldsymbol|bm|underline|emph|boxed|fbox)"
    r"\s*\{([^{}]*)\}"
)
REMAINS = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it))(?![A-Za-z])|[{}]")
SMALL_SPACE = re.compile(r"(?<=\d)(?:(?:\\!)?(?:,|\{,\})\\!\s?(?=\d{3})|(?:\\[,!]|\{,\}|[\u202f\u2009\u00a0])(?=\d))")
"""Thousands separators of LaTeX and typesetters."""
REPLACEMENTS = [
    (re.compile(r"\\(?:left|right|displaystyle|bf|rm|it|bfseries|Large|large|[()\[\]])(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "×"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:approx|equiv|simeq)(?![A-Za-z])"), "="),
    (re.compile(r"\\(?:pounds)(?![A-Za-z])"), "£"),
    (re.compile(r"\^\s*+\{?\s*+\\circ\s*\}?|°"), ""),
    (re.compile(r"\\q?quad(?![A-Za-z])|\\[,;:! ]|~"), " "),
    (re.compile(r"\\([$%&#_{}])"), r"\1"),
    (re.compile(r"[−–](?=\s?[\d$.])"), "-"),
    (re.compile(r"\*\*|__|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)"), ""),
]
DEEPEST = 8
"""Nested LaTeX commands that are resolved."""
CUT_END = re.compile(r"(?:\d[\d.,]*|\w+)\Z")
STATEMENT = re.compile(
    r"####|\b(?:answer|solution|(?:correct|right|best|final|chosen|suitable|appropriate|likely|logical)\s+(?:choice"
    r"|option))\b(?:\s+(?:to|for|among|from)\b[^\n.:?]{0,60}?|\s+here|\s*\([^()\n]*\))?\s*(?:(?:\bis\b|\bwould be\b"
    r"|\bshould be\b|\bmust be\b)(?:,?\s+(?:therefore|thus|hence|then|clearly|indeed|definitely|probably"
    r"|(?:most )?likely)\b,?)?|:|=)(?:\s*:)?|^(?:[^\w\n]|\d)*+(?:the[ \t]+)?(?:final|correct)?[ \t]*answer[^\w\n]*$",
    re.I | re.M,
)
"""Phrases that announce a final answer: ``The answer to the question is``, ``Final answer:``, ``### Answer``."""
LONGEST_PART = 2000
"""Characters of a box, a statement or a line that are looked at."""
MOST_PARTS = 20
"""Boxes and statements that are looked at, from the last."""
REASON = re.compile(r",?\s\(?(?:because|since)\b")
SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|\n")


def visible(answer: str, finished: bool) -> str:
    """Return the answer without its reasoning; and, if it was cut off, without its last, possibly partial, word."""
    spoken = spoken_part(answer)
    return spoken if finished else spoken[:-LONGEST_PART] + CUT_END.sub("", spoken[-LONGEST_PART:])


def boxes(text: str) -> list[str]:
    r"""Return the contents of each ``\boxed{...}``, in order, braces matched; an unclosed one ends with its line."""
    starts = [opening.end() - 1 for opening in BOX.finditer(text)][-MOST_PARTS:]
    closed: dict[int, int] = {}
    open_braces: list[int] = []
    for brace in BRACE.finditer(text):
        if brace[0] == "{":
            open_braces.append(brace.start())
        elif brace[0] == "}" and open_braces:
            closed[open_braces.pop()] = brace.start()
    line_ends = [match.start() for match in re.finditer(r"\n|\Z", text)]
    found = []
    for start in starts:
        end = closed[start] if start in closed else line_ends[bisect.bisect_left(line_ends, start)]
        found.append(text[start + 1 : min(end, start + LONGEST_PART)])
    return found


def plain(text: str) -> str:
    r"""Return text without LaTeX and Markdown: ``\text{B}`` is ``B``, ``\frac{1}{2}`` is ``1/2``."""
    text = SMALL_SPACE.sub("", text)
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    for _ in range(DEEPEST):
        text = WRAPPER.sub(r"\1", text)
        text = FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", text)
    return REMAINS.sub("", text)


def statements(text: str) -> list[tuple[int, str]]:
    """Return the position of each announced final answer in a plain text with what follows it, in order.

    After a heading, or an announcement at the end of a line, what follows begins with the next non-empty line. No more
    than ``LONGEST_PART`` characters of it are returned.
    """
    found = [
        (match.start(), text[match.end() : match.end() + LONGEST_PART].lstrip(" \t:*_").strip())
        for match in list(STATEMENT.finditer(text))[-MOST_PARTS:]
    ]
    return [(position, following) for position, following in found if following]


def sentence(text: str) -> str:
    """Return the first sentence of a text; a decimal point does not end it."""
    return SENTENCE_END.split(text, maxsplit=1)[0].strip()


def before_reason(text: str) -> str:
    """Return what a text says before it gives a reason: ``18 eggs, because 9 + 9 = 18`` says ``18 eggs``."""
    return REASON.split(text, maxsplit=1)[0].strip()


def lines_of(text: str) -> list[str]:
    """Return the non-empty lines of a plain text; of long ones, the end."""
    return [line.strip()[-LONGEST_PART:] for line in text.split("\n") if line.strip()]
