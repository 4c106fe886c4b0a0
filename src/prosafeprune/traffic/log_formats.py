"""What an entry of a log says: OpenAI messages or responses, ShareGPT, prompt and answer, a sample of inspect_ai."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prosafeprune.traffic.field_names import AmbiguousFieldsError, prompt_and_answer
from prosafeprune.traffic.turns import Message, Role, turns_of

ROLES: dict[str, Role | None] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "function", "function_call", "observation", "ipython"), None),
}
"""What each name of a role means; messages of None, which tools wrote, are left out."""
CONVERSATIONS = ("messages", "conversations", "conversation")
ITEMS = "items"
"""ShareGPT's older name of ``conversations``; other logs use it for other things."""
INPUT = "input"
"""The conversation in a request to OpenAI's Responses API: a text, or a list of items of which some are messages."""
ANSWERS = ("response", "output", "completion", "answer")
IN_ANSWERS = ("body", "choices", "output", "message", "content", "refusal", "text")
"""Fields that lead to the text of an answer, from the outside in; ``content`` is empty next to a ``refusal``."""
TEXTS = ("text", "output_text")
"""Kinds of the parts of an answer that are its text."""
EVENTS = re.compile(r"(?:event:.*\s+)?data: ?\{")
"""How the body of a streamed reply begins."""
MOST_MESSAGES = 1000
"""Maximum messages of a conversation: each turn is kept with all that came before it."""
WRAPPERS = ("request", "body", "request_body")
"""Fields that hold the request in logs of proxies and batches."""
NO_ANSWER = "has a conversation without an answer"
Answered = tuple[tuple[Message, ...], str]


class UnreadableEntryError(ValueError):
    """An entry of a log does not say clearly what it holds; the message says why."""


def turns_of_entry(entry: Mapping[str, Any], prompt_field: str, answer_field: str) -> Iterator[Answered]:
    """Yield each user turn of an entry, with the conversation before it and the answer.

    Raises:
        UnreadableEntryError: the entry has no conversation, no prompt and answer, or a message that cannot be read.
    """
    turns = list(_turns(entry, prompt_field, answer_field))
    if not turns:
        raise UnreadableEntryError(NO_ANSWER)
    yield from turns


def _turns(entry: Mapping[str, Any], prompt_field: str, answer_field: str) -> Iterator[Answered]:
    request = _request(entry)
    name = next((name for name in CONVERSATIONS if request.get(name)), None)
    if name is None and _is_for_responses(entry, request):
        name = INPUT
    if name is None and _are_messages(entry.get(ITEMS)):
        name = ITEMS
    if name is not None:
        given = _parsed(request[name])
        given = _items(given) if name == INPUT else given
        messages = _messages(given, entry.get("attachments"))
        last = _role(given[-1]) if given else None
        yield from turns_of([*_system(request, messages), *messages], _answer_of(entry, request, last, answer_field))
    elif both := _prompt_and_answer(entry, prompt_field, answer_field):
        yield from turns_of(*both)
    elif isinstance(request.get(prompt_field), str) and request is not entry:  # a request for a completion of a text
        yield from turns_of([("user", request[prompt_field])], _answer_of(entry, request, "user", answer_field))
    else:
        there = ", ".join(map(str, entry))[:100]
        raise UnreadableEntryError(f"no messages, and no {prompt_field} with {answer_field}, among: {there}")


def _prompt_and_answer(
    entry: Mapping[str, Any], prompt_field: str, answer_field: str
) -> tuple[list[Message], str] | None:
    """Return the messages up to a prompt, which may be a list of messages itself, and its answer."""
    try:
        found = prompt_and_answer(entry, prompt_field, answer_field)
    except AmbiguousFieldsError as error:
        raise UnreadableEntryError(str(error)) from error
    if found is None:
        return None
    prompt, answer = found
    given = _parsed(prompt)
    if _are_messages(given):
        messages = _messages(given, None)
    elif isinstance(prompt, str):
        messages = [("user", prompt)]
    else:
        raise UnreadableEntryError("its prompt must be text or a list of messages")
    if answer is None or isinstance(answer, bool | int | float):
        raise UnreadableEntryError("its answer must be text")
    return [*_system(entry, messages), *messages], answer if isinstance(answer, str) else _answer(answer)


def _are_messages(given: Any) -> bool:
    """Return whether a value is a list of messages: a prompt may also be JSON that a user wrote."""
    given = _parsed(given)
    is_list = isinstance(given, list) and bool(given)
    return is_list and all(
        isinstance(one, Mapping) and ("role" in one or "from" in one) and ("content" in one or "value" in one)
        for one in given
    )


def _is_for_responses(entry: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Return whether a request is one to the Responses API: other logs use the name of its field for other things."""
    is_wrapped, output = request is not entry, _parsed(entry.get("output"))
    return bool(request.get(INPUT)) and (is_wrapped or isinstance(output, list))


def _items(given: Any) -> Any:
    """Return the messages among the items of a request's input; reasoning, and calls of tools, have no role."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        return given
    return [item for item in given if not isinstance(item, Mapping) or item.get("role") or not item.get("type")]


def _system(entry: Mapping[str, Any], messages: Sequence[Message]) -> list[Message]:
    """Return the system prompt that is next to messages without one, as text or a list of parts."""
    given = entry.get("system") or (entry.get("instructions") if entry.get(INPUT) else None)
    has_one = any(role == "system" for role, _ in messages)
    return [("system", _content(given, None))] if isinstance(given, str | list) and not has_one else []


def _answer_of(
    entry: Mapping[str, Any], request: Mapping[str, Any], last: Role | None, answer_field: str
) -> str | None:
    """Return the answer to a request, or None of a conversation, which has its answers inside.

    A logged request may end with the result of a tool, or with the beginning of its answer. The last user turn of a
    conversation may have no answer.

    Args:
        request: the part of the entry that holds the messages.
        last: the role of the last one.
    """
    found = next((entry[field] for field in (answer_field, *ANSWERS) if entry.get(field) is not None), None)
    is_flat = request is entry
    if last == "assistant" and (is_flat or found is None):
        return None
    if is_flat and not any(field in entry for field in (answer_field, *ANSWERS, *IN_ANSWERS)):
        return None
    return _answer(found if found is not None else entry)


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
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UnreadableEntryError("its conversation is not a list of messages")
    if len(given) > MOST_MESSAGES:
        raise UnreadableEntryError(f"has {len(given):,} messages, more than {MOST_MESSAGES:,}")
    read = []
    for message in given:
        if not isinstance(message, Mapping):
            raise UnreadableEntryError("a message is not an object")
        role = _role(message)
        if role is not None and not _is_result(message):
            content = message.get("content", message.get("value"))
            read.append((role, _content(content or message.get("refusal"), attachments)))
    return read


def _is_result(message: Mapping[str, Any]) -> bool:
    """Return whether a message has the results of tools alone, which Anthropic's format gives to the user."""
    parts = message.get("content")
    kinds = [part.get("type") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return bool(kinds) and all(kind == "tool_result" for kind in kinds)


def _role(message: Mapping[str, Any]) -> Role | None:
    name = str(message.get("role") or message.get("from") or "").lower()
    if name not in ROLES:
        raise UnreadableEntryError(f"a message has the unknown role {name[:40]!r}")
    return ROLES[name]


def _content(content: Any, attachments: Any) -> str:
    """Return the text of a message: a string, or a list of parts of which only texts count."""
    if content is None:  # a call of a tool
        return ""
    if isinstance(content, str):
        return _attached(content, attachments)
    if isinstance(content, Sequence):
        texts = [part.get("text", part.get("refusal")) for part in content if isinstance(part, Mapping)]
        return "\n".join(_attached(text, attachments) for text in texts if isinstance(text, str))
    raise UnreadableEntryError("a message is neither text nor a list of parts")


def _attached(text: str, attachments: Any) -> str:
    """Return what a text refers to: inspect_ai keeps long texts apart, as ``attachment://`` and a hash."""
    if text.startswith("attachment://") and isinstance(attachments, Mapping):
        return str(attachments.get(text.removeprefix("attachment://"), text))
    return text


def _answer(given: Any) -> str:
    """Return the text of an answer: a string, a message, or a completion as servers send it."""
    as_text, given = given, _parsed(given)
    if isinstance(as_text, str) and not _holds_answer(given):  # an answer that is JSON itself
        given = as_text
    for _ in range(6):
        if isinstance(given, str):
            break
        if isinstance(given, Mapping):
            name = next((name for name in IN_ANSWERS if given.get(name) is not None), None)
            given = _parsed(given[name]) if name == "body" else given.get(name)
        elif isinstance(given, Sequence) and given:
            parts = [part for part in given if isinstance(part, Mapping)]
            texts = [part.get("text") for part in parts if part.get("type") in TEXTS]
            spoken = [_content(part.get("content"), None) for part in parts if part.get("type") == "message"]
            given = "\n".join(map(str, texts or spoken)) if texts or spoken else given[0]
    if not isinstance(given, str):
        raise UnreadableEntryError(NO_ANSWER)
    if EVENTS.match(given):
        raise UnreadableEntryError("its answer is a stream of events; log the complete answer")
    return given


def _holds_answer(given: Any) -> bool:
    """Return whether a value that was JSON is a server's reply, and not the answer of a model that writes JSON."""
    first = given[0] if isinstance(given, Sequence) and given else given
    return isinstance(first, Mapping) and any(name in first for name in IN_ANSWERS)


def _parsed(value: Any) -> Any:
    """Return a value, read as JSON where it is text that begins as JSON does: tables hold objects as text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
