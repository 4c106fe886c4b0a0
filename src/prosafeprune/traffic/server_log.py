"""vLLM's text log of requests and responses, and conversations in the text of a chat template."""

import ast
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from prosafeprune.traffic.log_formats import ROLES, Answered, UnreadableEntryError
from prosafeprune.traffic.turns import Message, turns_of

_REPR = r"('(?:[^'\\]++|\\.)*+'|\"(?:[^\"\\]++|\\.)*+\")"
"""A quoted text. Possessive, since one without its closing quote would fill the memory with states to go back to."""
REQUEST = re.compile(rf"(?:Received request|Request) (\S+?)(?: details)?: prompt: {_REPR}")
RESPONSE = re.compile(rf"Generated response (\S+)( \(streaming delta\)| \(streaming complete\))?: output: {_REPR}")
MOST_PENDING = 20_000
"""Maximum requests kept while they have no response; of more, the oldest are given up."""
DELTA = " (streaming delta)"
ONLY_COUNTED = "<streaming_complete:"
"""Begins what vLLM logs as the complete text of a streamed response that it did not keep."""
_MARKED = (
    re.compile(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>|\Z)", re.S),
    re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)(?:<\|eot_id\|>|\Z)", re.S),
    re.compile(r"<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>|\Z)", re.S),
    re.compile(r"<\|(system|user|assistant)\|>\n?(.*?)(?:<\|end\|>|</s>|(?=<\|(?:system|user|assistant)\|>)|\Z)", re.S),
)
_RESULTS = re.compile(r"<tool_response>.*</tool_response>", re.S)
"""Results of tools, which Qwen's templates give to the user."""
_ASK, _REPLY = "[INST]", "[/INST]"
_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.S)


def turns_of_server_log(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Answered | UnreadableEntryError]]:
    """Yield the last user turn of each request with its response, in the order of the responses.

    Lines about other things and responses without a request are left out. The parts of a streamed response are its
    text where the line that ends it has only their number.
    """
    pending: OrderedDict[str, tuple[str, list[str]]] = OrderedDict()
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


def _answered(prompt: str, parts: Sequence[str], output: str) -> Sequence[Answered]:
    answer = _text(output)
    if answer.startswith(ONLY_COUNTED):
        if not parts:
            raise UnreadableEntryError("the text of a streamed response is not in the log")
        answer = "".join(map(_text, parts))
    turns = list(turns_of(read_template(_text(prompt)), answer))
    if not turns:
        raise UnreadableEntryError("the request does not end with a user turn")
    return turns


def read_template(text: str) -> list[Message]:
    """Return the messages in the text that a chat template made, of ChatML, Llama, Gemma, Phi, Zephyr or Mistral.

    The opening of the answer, with or without the opening of a thought, is no message.

    Raises:
        UnreadableEntryError: it is of none of these.
    """
    for marked in _MARKED:
        found = list(marked.finditer(text))
        if found:
            opens_answer = found[-1].end(2) == len(text) and ROLES.get(found[-1][1]) == "assistant"
            said = [(ROLES.get(turn[1]), str(turn[2]).strip()) for turn in (found[:-1] if opens_answer else found)]
            messages: list[Message] = [
                (role, words)
                for role, words in said
                if role is not None and not (role == "user" and _RESULTS.fullmatch(words))
            ]
            return messages
    found_pairs = list(_instructions(text))
    if not found_pairs:
        raise UnreadableEntryError("the text of the request follows no chat template that is known")
    messages = []
    for asked, answered in found_pairs:
        system = _SYSTEM.match(asked)
        if system:
            messages.append(("system", system[1].strip()))
        messages.append(("user", (system[2] if system else asked).strip()))
        messages.append(("assistant", answered.replace("</s>", "").strip()))
    return messages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield what stands between each ``[INST]`` and ``[/INST]``, and the answer after it; in linear time."""
    start = text.find(_ASK)
    while start >= 0 and (close := text.find(_REPLY, start)) >= 0:
        following = text.find(_ASK, close)
        yield text[start + len(_ASK) : close], text[close + len(_REPLY) : following if following >= 0 else len(text)]
        start = following


def _text(shown: str) -> str:
    try:
        return str(ast.literal_eval(shown))
    except (ValueError, SyntaxError) as error:
        raise UnreadableEntryError("the text of a request or response is cut short") from error
