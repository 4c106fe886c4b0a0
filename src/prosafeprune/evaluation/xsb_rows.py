"""Rows of XSB and MS-XSB, whose columns were not checked on a file.

Each form that the paper makes likely is read, and any other is an error: no row is guessed to be safe, or read in part.
"""

import json
from collections.abc import Sequence
from typing import Any

from prosafeprune.errors import InputError
from prosafeprune.prompts.rows import Row, first_column

SINGLE_TURN = ("prompt", "question", "text")
"""Columns that may hold a request of XSB."""
LABEL = ("label", "safety", "class", "type")
"""Columns that may hold whether a row is safe."""
SAFE, UNSAFE = "safe", "unsafe"
TURNS = ("messages", "conversation", "dialogue", "dialog", "turns")
"""Columns that may hold the turns of a conversation of MS-XSB."""
SCENARIO = ("scenario", "context")
"""Columns that may hold what comes before the request of MS-XSB."""
ROLE, CONTENT = ("role", "from", "speaker"), ("content", "value", "text")
ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Other names of roles."""
REMEDY = "Write its rows with prompt or messages, and label (safe or unsafe), and give that file as NAME=FILE."


def is_safe_row(row: Row) -> bool:
    """Return whether a row is labelled safe.

    Raises:
        InputError: no column says safe or unsafe.
    """
    lowered = _lowered(row)
    for name in LABEL:
        words = str(lowered.get(name, "")).strip().lower()
        # A type may say more, such as "safe_contexts" or "contrast_safe_contexts" in the first XSTest: only the word.
        if words in (SAFE, UNSAFE):
            return words == SAFE
    raise InputError(f"XSB: a row is labelled neither safe nor unsafe; it has: {_columns(row)}. {REMEDY}")


def is_unsafe_row(row: Row) -> bool:
    """Return whether a row is labelled unsafe. Raises InputError as :func:`is_safe_row` does."""
    return not is_safe_row(row)


def single_turn_row(row: Row, place: str) -> Row:
    """Return a row of XSB.

    Raises:
        InputError: it has a scenario or turns: MS-XSB is published in the same place.
    """
    lowered = _lowered(row)
    if any(lowered.get(name) for name in (*TURNS, *SCENARIO)):
        raise InputError(f"{place}: is a row of several turns: of MS-XSB, not of XSB. Give its file to ms-xsb.")
    return lowered


def conversation_row(row: Row, place: str) -> Row:
    """Return a row of MS-XSB as a conversation up to the user's last turn, or as its scenario and the request after it.

    Raises:
        InputError: it has neither turns with roles nor a scenario. Several user's turns without the answers between
            them are no conversation.
    """
    lowered = _lowered(row)
    turns = next((lowered[name] for name in TURNS if lowered.get(name)), None)
    if turns is not None:
        return {"messages": _messages(turns, place), "category": lowered.get("category")}
    scenario = next((lowered[name] for name in SCENARIO if lowered.get(name)), None)
    if scenario is None:
        raise InputError(f"{place}: has no turns and no scenario; it has: {_columns(row)}. {REMEDY}")
    request = lowered[first_column(lowered, SINGLE_TURN, place, REMEDY)]
    if not isinstance(scenario, str) or not isinstance(request, str):
        raise InputError(f"{place}: its scenario or its request is not text. {REMEDY}")
    return {"prompt": f"{scenario.strip()}\n\n{request.strip()}", "category": lowered.get("category")}


def _messages(turns: Any, place: str) -> list[dict[str, Any]]:
    """Return turns, in a CSV file as JSON, as OpenAI's messages, without answers after the user's last turn."""
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: its turns are text, and not JSON. {REMEDY}") from error
    if not isinstance(turns, list | tuple):
        raise InputError(f"{place}: its turns are not a list. {REMEDY}")
    messages = []
    for turn in turns:
        role, content = (_first(turn, names) for names in (ROLE, CONTENT))
        if role is None or content is None:
            raise InputError(f"{place}: a turn does not say whose it is. {REMEDY}")
        messages.append({"role": ROLES.get(str(role).lower(), str(role).lower()), "content": content})
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise InputError(f"{place}: has no turn of the user. {REMEDY}")
    return messages


def _first(turn: Any, names: Sequence[str]) -> Any:
    return next((turn[name] for name in names if name in turn), None) if isinstance(turn, dict) else None


def _lowered(row: Row) -> dict[str, Any]:
    return {str(name).strip().lower(): value for name, value in row.items()}


def _columns(row: Row) -> str:
    return ", ".join(map(str, row))[:200]
