"""The API key, and hiding it and every other credential in whatever is printed, logged or recorded."""

import base64
import os
import re
from urllib.parse import unquote

from prosafeprune.errors import InputError
from prosafeprune.text import beginning

KEY_VARIABLES = ("PROSAFEPRUNE_API_KEY", "OPENAI_API_KEY")
NO_KEY = "none"
"""Key sent to servers that need none, since the client requires one."""
LOOKS_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]+|\bBearer\s+\S+", re.I)
SHORTEST_SECRET = 4
"""Minimum length of a secret that is hidden: shorter values cannot be distinguished from ordinary text."""
SHORTEST_SECRET_IN_ANSWER = 12
"""Minimum length of a secret that is hidden in an answer, where a shorter value may be a word."""
LONGEST_EXCERPT = 200
LONGEST_READ = 20_000
"""Maximum characters of a server's message that are read."""

_passwords: set[str] = set()


def api_key() -> str:
    """Return the API key, which is read from an environment variable only.

    Raises:
        InputError: it holds characters that no key has.
    """
    name = key_variable()
    key = os.environ[name].strip() if name else NO_KEY
    if not key.isascii() or not key.isprintable():
        raise InputError(f"{name}: contains characters that are not valid in a key. Copy the key again.")
    return key


def key_variable() -> str | None:
    """Return the name of the environment variable that holds the key."""
    return next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), None)


def remember_secret(text: str) -> None:
    """Hide this credential of an endpoint URL from now on, as written and percent-decoded."""
    _passwords.update({text, unquote(text), base64.b64encode(unquote(text).encode(errors="replace")).decode()})


def hide_secrets(text: str, shortest: int = SHORTEST_SECRET) -> str:
    """Return the text without keys of the environment and credentials of endpoint URLs."""
    keys = {os.environ.get(name, "").strip() for name in KEY_VARIABLES} - {NO_KEY}
    for secret in sorted(keys | _passwords, key=len, reverse=True):
        if len(secret) >= shortest:
            text = text.replace(secret, "[key]")
    return text


def excerpt(text: str) -> str:
    """Return the beginning of what a server sent: one printable line, without anything that may be a key."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text[:LONGEST_READ]).split())
    return beginning(LOOKS_LIKE_A_KEY.sub("[key]", hide_secrets(text)), LONGEST_EXCERPT)
