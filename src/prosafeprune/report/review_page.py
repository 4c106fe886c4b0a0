"""The page on which a person reviews candidates with the keyboard: one file, no server, no request.

Its script is the only one that the content security policy allows, by its hash. Texts of users and models are data in
a JSON block, where ``<``, ``>`` and ``&`` are escaped, and are shown as text.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prosafeprune.text import beginning, printable

MOST_OF_ANSWER = 600
"""Characters of an answer that are shown."""
IN_JSON = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
SAVED = ("prompt", "messages")
"""Fields of a row that the saved file has, besides the finding."""


def review_page(rows: Iterable[Mapping[str, Any]], saved_name: str) -> str:
    """Return the page as HTML.

    Args:
        rows: candidates with ``prompt``, ``messages``, ``completion``, ``class``, ``times``, ``log`` and ``line``.
    """
    shown = [_shown(row) for row in rows]
    environment = Environment(
        loader=PackageLoader("prosafeprune.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = (_part(name) for name in ("review.css", "review.js"))
    return environment.get_template("review.html.jinja").render(
        count=len(shown),
        saved_name=saved_name,
        data=Markup(
            json.dumps(shown, ensure_ascii=False).translate(IN_JSON)
        ),  # escaped as JSON, which HTML leaves alone
        style=Markup(style),  # part of the package: nothing of the run is in it
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    cut = beginning(printable(row["completion"]), MOST_OF_ANSWER)
    about = f"{row['log']}, {row['line']}: {row['class'].replace('_', ' ')}"
    return {**{name: row[name] for name in SAVED}, "answer": cut, "about": about, "times": row["times"]}


def _part(name: str) -> str:
    return (resources.files("prosafeprune.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
