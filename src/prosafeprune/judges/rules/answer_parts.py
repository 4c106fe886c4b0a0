"""Preprocessing for the rules: plain words, sentences, and the parts of an answer."""

import re
from dataclasses import dataclass
from functools import lru_cache

from prosafeprune.judges.brokenness import CODE_BLOCK

LIST_MARK = re.compile(r"^\s*(?:#+\s*)?(?:\*\*)?(?:\d{1,2}[.)]|[-*•+]|step \d+:?)\s+(?=\S)", re.I)
LIST_NUMBER = re.compile(r"^(\s*(?:#+\s*)?(?:\*\*)?\d{1,2})\.(?=\s)", re.M)
"""Ends no sentence."""
SENTENCE_END = re.compile(r"([.!?])[\"')*\]]*\s+(?=[\"'(*\[]*[A-Z0-9])")
DOUBLE_QUOTED = re.compile(r"\"([^\"\n]*)(?:\"|\Z)")
SINGLE_QUOTED = re.compile(r"'(?<!\w')((?:I|We|Sorry|No)\b[^\"\n]{0,80}?)'(?!\w)")
SPEECH = re.compile(r"(?:I|We|Sorry|No)\b|.{25,}")
CONTRACTIONS = (
    (re.compile(r"\bcan(?: no|'|no)?t\b"), "cannot"),
    (re.compile(r"\bwon'?t\b"), "will not"),
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\b(do|does|did|is|are|was|were|would|could|should|must|have|has|had)n'?t\b"), r"\1 not"),
    (re.compile(r"\bi'?m\b"), "i am"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"\b(it|that|this|there|what|here|who|where|how)'s\b"), r"\1 is"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
)
CONTRACTION = re.compile(
    r"\b(?:can(?: no|'|no)?t|won'?t|gonna|(?:do|does|did|is|are|was|were|would|could|should|must|have|has|had)n'?t|i'?m"
    r"|let's|(?:it|that|this|there|what|here|who|where|how)'s)\b|'(?:re|ve|ll|d)\b"
)
"""Whatever one of ``CONTRACTIONS`` matches: one search for all of them."""
CONTRACTED = re.compile(
    r"\bcan not\b|\b(?:can|won|do|does|did|is|are|was|were|would|could|should)n?t\b|\b(?:im|gonna)\b"
)
"""What is spelled out in a text without apostrophes; there, "havent" stays."""
FINISHED = re.compile(r"[.!?:)\"'”’`*…\]]\s*\Z")
NOT_PLAIN = re.compile(r"[^\w]+|_+")
PUNCTUATION_TO_SPACES = {code: " " for code in range(128) if not chr(code).isalnum()}
"""Does the same with ASCII text without underscores, faster."""
HAS_WORDS = re.compile(r"[^\W_]")


@lru_cache(maxsize=32)  # each rule asks for the prompt again
def plain(text: str) -> str:
    """Return only the words: lower case, contractions spelled out, no punctuation, single spaces."""
    return _words_alone(spell_out(text))


def _words_alone(text: str) -> str:
    """Return a text with a space in place of all between words."""
    if text.isascii() and "_" not in text:
        return " ".join(text.translate(PUNCTUATION_TO_SPACES).split())
    return NOT_PLAIN.sub(" ", text).strip()


def spell_out(text: str) -> str:
    """Return the text in lower case, contractions spelled out."""
    text = text.lower().replace("’", "'").replace("‘", "'")
    return CONTRACTION.sub(_spelled_out, text) if "'" in text or CONTRACTED.search(text) else text


def _spelled_out(found: re.Match[str]) -> str:
    return _expanded(found.group())


@lru_cache(maxsize=256)
def _expanded(text: str) -> str:
    """Return a contraction spelled out."""
    for contraction, spelled_out in CONTRACTIONS:
        text = contraction.sub(spelled_out, text)
    return text


@dataclass(frozen=True)
class Sentence:
    """One sentence in plain words."""

    text: str
    listed: bool
    """True inside a numbered or bulleted list."""


@dataclass(frozen=True)
class AnswerParts:
    """The parts of an answer that the rules score."""

    sentences: list[Sentence]
    listed: int
    """Number of list items."""
    has_code: bool
    finished: bool
    """False if the last sentence was cut off, as at the token limit."""


def without_speech(quote: re.Match[str]) -> str:
    """Return a quoted term unchanged, and an empty string for quoted speech."""
    return " " if SPEECH.match(quote.group(1)) else quote.group()


def split_answer(answer: str) -> AnswerParts:
    """Split an answer into plain sentences, without code and quoted speech, which are not the model's own voice."""
    prose = CODE_BLOCK.sub("\n", answer)
    has_code = prose != answer
    if not HAS_WORDS.search(prose):
        prose = answer.replace("```", "\n")
    prose = prose.replace("“", '"').replace("”", '"').strip()
    unquoted = SINGLE_QUOTED.sub(" ", DOUBLE_QUOTED.sub(without_speech, prose))
    prose = unquoted if HAS_WORDS.search(unquoted) else prose
    sentences: list[Sentence] = []
    listed = 0
    for line in spell_out(SENTENCE_END.sub("\\1\0", LIST_NUMBER.sub(r"\1)", prose))).splitlines():
        mark = LIST_MARK.match(line)
        listed += mark is not None
        for piece in line[mark.end() :].split("\0") if mark else line.split("\0"):
            text = _words_alone(piece)
            if text:
                sentences.append(Sentence(text, listed=mark is not None))
    return AnswerParts(sentences, listed, has_code, finished=FINISHED.search(answer) is not None)
