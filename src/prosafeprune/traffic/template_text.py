"""Conversations read back from the text that a chat template made of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prosafeprune.traffic.log_formats import ROLES, UnreadableEntryError
from prosafeprune.traffic.turns import Message, Role


@dataclass(frozen=True)
class _Template:
    """How a family of templates marks a message, and what it writes into messages that nobody said."""

    message: re.Pattern[str]
    """One message: its role, and its text. Messages of other roles, such as results of tools, need not match."""
    added: Mapping[Role, re.Pattern[str]] = field(default_factory=dict)
    """Thoughts, tools, dates and headings in messages of a role. Users' messages are left as they are."""
    has_bare_system: bool = False
    """Whether the system prompt is what is before the first mark."""


def _template(opening: str, closing: str, *, bare_system: bool = False, **added: str) -> _Template:
    """Return a template of messages that end with a mark or, if they were cut off, with the text.

    Each pattern finds its end or takes all that is left, so that no text takes more than linear time.
    """
    roles: dict[str, Role] = {"system": "system", "assistant": "assistant"}
    return _Template(
        re.compile(rf"{opening}(.*?)(?:{closing}|\Z)", re.S),
        {roles[name]: re.compile(pattern, re.S) for name, pattern in added.items()},
        bare_system,
    )


_PLAIN = "system|user|assistant|observation"
TEMPLATES = {
    "ChatML, Phi-4": _template(r"<\|im_start\|>(\w+)(?:\n|<\|im_sep\|>)", r"<\|im_end\|>"),
    "Llama 3": _template(
        r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n",
        r"<\|eo[tm]_id\|>",
        system=r"\A(?:Environment: ipython\n)?Cutting Knowledge Date: [^\n]*\nToday Date: [^\n]*\n",
    ),
    "Llama 4": _template(r"<\|header_start\|>(\w+)<\|header_end\|>\n\n", r"<\|eo[tm]\|>"),
    "Gemma": _template(r"<start_of_turn>(\w+)\n", "<end_of_turn>"),
    "Gemma 4": _template(
        r"<\|turn>(\w+)\n",
        r"<turn\|>",
        system=r"\A<\|think\|>|<\|tool>.*?(?:<tool\|>|\Z)",
        assistant=r"<\|(channel|tool_call|tool_response)>.*?(?:<\1\|>|\Z)",
    ),
    "Granite": _template(r"<\|start_of_role\|>(\w+)[^<\n]{0,200}<\|end_of_role\|>", r"<\|end_of_text\|>"),
    "Harmony": _template(  # of the channels, those of thoughts are left out, and of messages, those to and from tools
        r"<\|start\|>(system|developer|user|assistant)(?:<\|channel\|>(?:final|commentary))?<\|message\|>",
        r"<\|(?:end|return|call)\|>",
        system=r"(?m:^(?:You are ChatGPT, a large language model trained by OpenAI\.|Knowledge cutoff:[^\n]*"
        r"|Current date:[^\n]*|Reasoning: \w+|# Valid channels:[^\n]*|Calls to these tools must go to [^\n]*)$)"
        r"|\A# Instructions\n\n|# Tools\n\n## (?:functions|browser|python)\n.*",
    ),
    "DeepSeek": _template(
        "<｜(User|Assistant)｜>",
        "(?=<｜(?:User|Assistant)｜>)",
        bare_system=True,
        system="<｜begin▁of▁sentence｜>",
        assistant=r"\A\s*(?:<think>.*?)?</think>|<｜end▁of▁sentence｜>"
        r"|<｜tool▁(calls|outputs?)▁begin｜>.*?(?:<｜tool▁\1▁end｜>|\Z)",
    ),
    "Phi-3, Zephyr, GLM-4": _template(
        rf"<\|({_PLAIN})\|>\n?", rf"<\|end\|>|<\|endoftext\|>|</s>|(?=<\|(?:{_PLAIN})\|>)"
    ),
}
"""The templates that mark the role of each message; Llama 2's and Mistral's mark instructions instead."""
_TOOL_RESULTS = re.compile(r"<tool_response>.*</tool_response>", re.S)
"""Results of tools, which Qwen's templates give to the user."""
_ASK, _REPLY = "[INST]", "[/INST]"
_LLAMA_2_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.S)
_MISTRAL_SYSTEM = re.compile(r"\[SYSTEM_PROMPT\](.*?)\[/SYSTEM_PROMPT\]", re.S)
_MISTRAL_TOOLS = re.compile(
    r"\[(AVAILABLE_TOOLS|TOOL_RESULTS)\].*?(?:\[/\1\]|\Z)|\[TOOL_CALLS\].*?(?:</s>|\Z)|</s>", re.S
)


def read_template(text: str) -> list[Message]:
    """Return the messages in the text that a chat template made: of :data:`TEMPLATES`, Llama 2 or Mistral.

    The one whose mark comes first is taken: users may write marks of others. The opening of the answer, with or
    without the opening of a thought, is no message.

    Raises:
        UnreadableEntryError: it is of none of these.
    """
    first = {name: found.start() for name, one in TEMPLATES.items() if (found := one.message.search(text))}
    name = min(first, key=lambda name: first[name], default=None)
    ask = text.find(_ASK)
    if name is not None and not 0 <= ask < first[name]:
        return _marked_messages(TEMPLATES[name], text)
    messages = list(_instructed_messages(text))
    if not messages:
        raise UnreadableEntryError("the text of the request follows no chat template that is known")
    return messages


def _marked_messages(template: _Template, text: str) -> list[Message]:
    found = list(template.message.finditer(text))
    opens_answer = found[-1].end(2) == len(text) and ROLES.get(found[-1][1].lower()) == "assistant"
    said = [(ROLES.get(one[1].lower()), str(one[2])) for one in (found[:-1] if opens_answer else found)]
    if template.has_bare_system:
        said.insert(0, ("system", text[: found[0].start()]))
    messages: list[Message] = []
    for role, words in said:
        if role is None or (role == "user" and _TOOL_RESULTS.fullmatch(words.strip())):
            continue
        own = template.added[role].sub("", words) if role in template.added else words
        if role == "user" or own.strip():
            messages.append((role, own.strip()))
    return messages


def _instructed_messages(text: str) -> Iterator[Message]:
    before = _MISTRAL_SYSTEM.search(text, 0, max(0, text.find(_ASK)))
    if before:
        yield "system", before[1].strip()
    for asked, answered in _instructions(text):
        system = _LLAMA_2_SYSTEM.match(asked)
        if system:
            yield "system", system[1].strip()
        yield "user", (system[2] if system else asked).strip()
        yield "assistant", _MISTRAL_TOOLS.sub("", answered).strip()


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield what stands between each ``[INST]`` and ``[/INST]``, and the answer after it; in linear time."""
    start = text.find(_ASK)
    while start >= 0 and (close := text.find(_REPLY, start)) >= 0:
        following = text.find(_ASK, close)
        yield text[start + len(_ASK) : close], text[close + len(_REPLY) : following if following >= 0 else len(text)]
        start = following
