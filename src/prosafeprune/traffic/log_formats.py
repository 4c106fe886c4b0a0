"""What an entry of a chat log says: OpenAI messages, ShareGPT, prompt and answer, or a sample of inspect_ai."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prosafeprune.traffic.turns import Message, Role, turns_of

ROLES: dict[str, Role | None] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "function", "function_call", "observation", "ipython"), None),
}
"""What each name of a role means; messages of None, which tools wrote, are left out."""
CONVERSATIONS = ("messages", "conversations", "conversation")
ANSWERS = ("response", "output", "completion", "answer")
MOST_MESSAGES = 1000
"""Maximum messages of a conversation: each turn is kept with all that came before it."""
WRAPPERS = ("request", "body", "request_body")
"""Fields that hold the request in logs of proxies and batches."""
Answered = tuple[tuple[Message, ...], str]


class UnreadableEntryError(ValueError):
    """An entry of a log does not say clearly what it holds; the message says why."""


def turns_of_entry(entry: Mapping[str, Any], prompt_field: str, answer_field: str) -> Iterator[Answered]:
    """Yield each user turn of an entry, with the conversation before it and the answer.

    Raises:
        UnreadableEntryError: the entry has no conversation, no prompt and answer, or a message that cannot be read.
    """
    request = _request(entry)
    name = next((name for name in CONVERSATIONS if request.get(name)), None)
    if name is not None:
        messages = _messages(request[name], entry.get("attachments"))
        found = next((entry[field] for field in (answer_field, *ANSWERS) if entry.get(field) is not None), None)
        answer = None if messages and messages[-1][0] == "assistant" else _answer(found if found is not None else entry)
        yield from turns_of(messages, answer)
    elif prompt_field in entry and answer_field in entry:
        prompt, answer = entry[prompt_field], entry[answer_field]
        if not isinstance(prompt, str) or not isinstance(answer, str):
            raise UnreadableEntryError(f"{prompt_field} and {answer_field} must be text")
        yield from turns_of([("user", prompt)], answer)
    else:
        there = ", ".join(map(str, entry))[:100]
        raise UnreadableEntryError(f"no messages, and no {prompt_field} with {answer_field}, among: {there}")


def _request(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of an entry that holds the conversation: itself, or what a proxy or a batch wrapped."""
    for _ in range(len(WRAPPERS)):
        if any(entry.get(name) for name in CONVERSATIONS):
            break
        inner = next((_parsed(entry[name]) for name in WRAPPERS if entry.get(name)), None)
        if not isinstance(inner, Mapping):
            break
        entry = inner
    return entry


def _messages(given: Any, attachments: Any) -> list[Message]:
    given = _parsed(given)
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UnreadableEntryError("its conversation is not a list of messages")
    if len(given) > MOST_MESSAGES:
        raise UnreadableEntryError(f"has {len(given):,} messages, more than {MOST_MESSAGES:,}")
    read = []
    for message in given:
        if not isinstance(message, Mapping):
            raise UnreadableEntryError("a message is not an object")
        name = str(message.get("role") or message.get("from") or "").lower()
        if name not in ROLES:
            raise UnreadableEntryError(f"a message has the unknown role {name[:40]!r}")
        role = ROLES[name]
        if role is not None:
            read.append((role, _content(message.get("content", message.get("value")), attachments)))
    return read


def _content(content: Any, attachments: Any) -> str:
    """Return the text of a message: a string, or a list of parts of which only texts count."""
    if content is None:  # a call of a tool
        return ""
    if isinstance(content, str):
        return _attached(content, attachments)
    if isinstance(content, Sequence):
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(_attached(text, attachments) for text in texts if isinstance(text, str))
    raise UnreadableEntryError("a message is neither text nor a list of parts")


def _attached(text: str, attachments: Any) -> str:
    """Return what a text refers to: inspect_ai keeps long texts apart, as ``attachment://`` and a hash."""
    if text.startswith("attachment://") and isinstance(attachments, Mapping):
        return str(attachments.get(text.removeprefix("attachment://"), text))
    return text


def _answer(given: Any) -> str:
    """Return the text of an answer: a string, a message, or a completion as servers send it."""
    given = _parsed(given)
    for _ in range(6):
        if isinstance(given, str):
            return given
        if isinstance(given, Mapping):
            given = next(
                (given[name] for name in ("body", "choices", "message", "content", "text") if name in given), None
            )
        elif isinstance(given, Sequence) and given:
            texts = [part.get("text") for part in given if isinstance(part, Mapping) and part.get("type") == "text"]
            given = "\n".join(map(str, texts)) if texts else given[0]
    if isinstance(given, str):
        return given
    raise UnreadableEntryError("has a conversation without an answer")


def _parsed(value: Any) -> Any:
    """Return a value, read as JSON where it is text that begins as JSON does: tables hold objects as text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
