"""vLLM's text log of requests and responses."""

import ast
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from prosafeprune.traffic.log_formats import Answered, UnreadableEntryError
from prosafeprune.traffic.template_text import read_template
from prosafeprune.traffic.turns import turns_of

_REPR = r"('(?:[^'\\]++|\\.)*+'|\"(?:[^\"\\]++|\\.)*+\")"
"""A quoted text. Possessive, since one without its closing quote would fill the memory with states to go back to."""
REQUEST = re.compile(rf"(?:Received request|Request) (\S+?)(?: details)?: prompt: (?:{_REPR}|None\b)")
RESPONSE = re.compile(rf"Generated response (\S+)( \(streaming delta\)| \(streaming complete\))?: output: {_REPR}")
MOST_PENDING = 20_000
"""Maximum requests kept while they have no response; of more, the oldest are given up."""
DELTA = " (streaming delta)"
ONLY_COUNTED = "<streaming_complete:"
"""Begins what vLLM logs as the complete text of a streamed response that it did not keep."""


def turns_of_server_log(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Answered | UnreadableEntryError]]:
    """Yield the last user turn of each request with its response, in the order of the responses.

    Lines about other things and responses without a request are left out. The parts of a streamed response are its
    text where the line that ends it has only their number.
    """
    pending: OrderedDict[str, tuple[str | None, list[str]]] = OrderedDict()
    for number, line in lines:
        if found := REQUEST.search(line):
            pending[found[1]] = found[2], []
            if len(pending) > MOST_PENDING:
                pending.popitem(last=False)
        elif (found := RESPONSE.search(line)) and found[1] in pending:
            if found[2] == DELTA:
                pending[found[1]][1].append(found[3])
                continue
            try:
                yield from ((number, turn) for turn in _answered(*pending.pop(found[1]), found[3]))
            except UnreadableEntryError as error:
                yield number, error


def _answered(prompt: str | None, parts: Sequence[str], output: str) -> Sequence[Answered]:
    if prompt is None:
        raise UnreadableEntryError("the log has the numbers of the request's tokens, not its text")
    answer = _text(output)
    if answer.startswith(ONLY_COUNTED):
        if not parts:
            raise UnreadableEntryError("the text of a streamed response is not in the log")
        answer = "".join(map(_text, parts))
    turns = list(turns_of(read_template(_text(prompt)), answer))
    if not turns:
        raise UnreadableEntryError("the request does not end with a user turn")
    return turns


def _text(shown: str) -> str:
    try:
        return str(ast.literal_eval(shown))
    except (ValueError, SyntaxError) as error:
        raise UnreadableEntryError("the text of a request or response is cut short") from error
