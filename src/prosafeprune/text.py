"""Text of users, models, servers and files, made safe to show; and folder names made from it."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates: invalid in HTML or SVG, or in UTF-8 at all."""
ESCAPE_SEQUENCE = re.compile(
    "(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"  # OSC, DCS, SOS, PM, APC
    "|(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI
    "|\x1b[ -/]*[0-~]?"
)
"""Terminal commands (ECMA-48), such as those that set the title, write the clipboard or clear the screen."""
BIDI_CONTROLS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
BIDI = re.compile(f"[{BIDI_CONTROLS}]")
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks that show nothing, besides format characters (Unicode's Cf), such as zero-width spaces."""
ABSOLUTE = re.compile(r"[/~]|\\\\|[A-Za-z]:[\\/]")
"""Beginning of an absolute path, here or on Windows."""
SURROGATE = re.compile("[\ud800-\udfff]")
MARKDOWN = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)")
"""What begins or ends something in a line of Markdown; an underscore does not inside a word."""
MOST_DECIMALS = 9
TERMINAL_CONTROL = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{BIDI_CONTROLS}]")
"""Characters other than tab and newline that move the cursor or reorder text."""


def printable(text: str) -> str:
    """Return ``text`` for a page or a figure, with each invalid character shown as U+FFFD."""
    return UNPRINTABLE.sub("\ufffd", text)


def for_markdown(text: str) -> str:
    """Return ``text`` for a line or table cell of Markdown, where it is shown as it is; newlines become spaces."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return MARKDOWN.sub(r"\\\g<0>", " ".join(escaped.splitlines()))


def as_code(text: str) -> str:
    """Return ``text`` as inline code in Markdown, outside tables; backticks in it would end the code."""
    return f"`{' '.join(printable(text).replace('`', chr(39)).split())}`"


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: it is empty, or has only spaces and invisible characters."""
    return all(
        character.isspace() or unicodedata.category(character) in ("Cc", "Cf") or UNSEEN.match(character)
        for character in text
    )


def for_terminal(text: str) -> str:
    """Return ``text`` without anything that controls a terminal: escape sequences, control characters, bidi marks.

    Tabs and newlines stay; lone surrogates become U+FFFD.
    """
    return SURROGATE.sub("\ufffd", TERMINAL_CONTROL.sub("", ESCAPE_SEQUENCE.sub("", text)))


def json_for_terminal(text: str) -> str:
    """Return JSON with the same characters written as ``\\u`` escapes, so that its meaning stays."""
    return TERMINAL_CONTROL.sub(lambda found: found[0] if found[0] == "\r" else f"\\u{ord(found[0]):04x}", text)


def isolated(name: str) -> str:
    """Return a name for use in a sentence, so that right-to-left characters in it do not reorder the sentence."""
    bare = BIDI.sub("", name)
    if bare == name and not any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in name):
        return name
    return f"\u2068{bare}\u2069"  # first strong isolate ... pop directional isolate


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for a misspelt name, or nothing where no known one is like it."""
    like = get_close_matches(name, list(known), n=1)
    return f" Did you mean {like[0]}?" if like else ""


def short_name(model: str) -> str:
    """Return the last part of a model's hub id or path, which is what readers know it by."""
    return isolated(Path(model).name or model)


def without_folder(value: str) -> str:
    """Return a value such as ``PATH`` or ``NAME=PATH`` with an absolute path cut to its last part.

    Pages and cards are shared; the folders of the machine that made them are not their readers' business.
    """
    name, equals, path = ("", "", value) if ABSOLUTE.match(value) else value.partition("=")
    return name + equals + re.split(r"[/\\]", path.rstrip("/\\"))[-1] if ABSOLUTE.match(path) else value


def shared_name(model: str) -> str:
    """Return a model's name for records; an absolute path's last part, with a hash that keeps models of one name apart.

    Unlike :func:`without_folder`, for names that say which model it is.
    """
    short = without_folder(model)
    return model if short == model else f"{short}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def text_hash(text: str) -> str:
    """Return the hash by which a text is known in files: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def first_repeat(names: Iterable[str]) -> str | None:
    """Return the first name that was there before, or None; in time linear in their number."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def listed(words: Sequence[str]) -> str:
    """Return at least one word or phrase as a list in a sentence: ``a, b and c``."""
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])


def shortened(text: str, length: int) -> str:
    """Return a text cut to at most ``length`` characters, the dots at the cut included."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def beginning(text: str, length: int) -> str:
    """Return the first ``length`` characters of a text, with dots after them where more follow."""
    return text if len(text) <= length else f"{text[:length]}..."


def told_apart(points: float, limit: float) -> str:
    """Return points with a decimal or, where they would look equal to a limit that they are not, as many as it takes.

    So "3.03, more than the 3 allowed". The limit is shown with ``:g``.
    """
    shown_limit = float(f"{limit:g}")
    shown = (f"{points:.{places}f}" for places in range(1, MOST_DECIMALS + 1))
    differing = (text for text in shown if points == shown_limit or float(text) != shown_limit)
    return next(differing, f"{points:.1f}")


def slug(name: str, fallback: str = "model") -> str:
    """Return the last part of a hub id or path as a safe file name: letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", Path(name).name).strip("-.") or fallback


def duration(seconds: float) -> str:
    """Return a duration in words, about as exact as an estimate can be: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    return f"{hours} h {minutes} min" if minutes and hours < 24 else f"{hours} h"


def data_size(count: float) -> str:
    """Return a number of bytes as ``24 MB`` or ``3.1 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
