"""The pages on which a person reviews candidates with the keyboard: each one file, no server, no request.

Conversations may be long, and the page saves them complete, so that what does not fit on one is on the next.

Its script is the only one that the content security policy allows, by its hash. Texts of users and models are data in
a JSON block, where ``<``, ``>`` and ``&`` are escaped, and are shown as text.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prosafeprune.text import beginning, printable

MOST_OF_ANSWER = 600
"""Characters of an answer that are shown."""
MOST_ON_A_PAGE = 4_000_000
"""Maximum characters of requests, conversations and answers on a page; one candidate may have more."""
IN_JSON = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
SAVED = ("prompt", "messages")
"""Fields of a row that the saved file has, besides the finding."""


def review_pages(rows: Iterable[Mapping[str, Any]], page_name: str, saved_name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the HTML of each page, at least one; one page is in memory at a time.

    Args:
        rows: candidates with ``prompt``, ``messages``, ``completion``, ``class``, ``times``, ``log`` and ``line``.
        page_name: name of the first page; the second has ``-2`` before its ending.
        saved_name: name of the file that the first page saves.
    """
    for number, (part, is_last) in enumerate(_parts(map(_shown, rows)), 1):
        following = "" if is_last else _numbered(page_name, number + 1)
        yield _numbered(page_name, number), _page(part, _numbered(saved_name, number), number, following)


def _parts(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Yield the rows in lists of bounded size, and whether each is the last one."""
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        length = sum(len(message["content"]) for message in row["messages"]) + len(row["prompt"]) + len(row["answer"])
        if part and size + length > MOST_ON_A_PAGE:
            yield part, False
            part, size = [], 0
        part.append(row)
        size += length
    yield part, True


def _numbered(name: str, number: int) -> str:
    path = PurePath(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"


def _page(shown: list[dict[str, Any]], saved_name: str, number: int, following: str) -> str:
    environment = Environment(
        loader=PackageLoader("prosafeprune.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = (_part(name) for name in ("review.css", "review.js"))
    data = json.dumps(shown, ensure_ascii=False).translate(IN_JSON)
    return environment.get_template("review.html.jinja").render(
        count=len(shown),
        saved_name=saved_name,
        number=number,
        following=following,
        data=Markup(data),  # escaped as JSON, which HTML leaves alone
        data_hash=hashlib.sha256(data.encode()).hexdigest(),
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
