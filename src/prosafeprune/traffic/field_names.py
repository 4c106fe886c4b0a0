"""Which fields or columns of an entry hold a prompt and its answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.text import is_blank

PROMPT, ANSWER = "prompt", "completion"
"""The names without options. An entry without such a field may have another usual name."""
USUAL_PROMPTS = (PROMPT, "question", "query", "instruction")
USUAL_ANSWERS = (ANSWER, "response", "answer", "output", "reply")
FOR_INSTRUCTION = "input"
"""What an instruction is about, in Alpaca's format."""


class AmbiguousFieldsError(ValueError):
    """Several fields of an entry may hold its prompt or its answer; the message names them."""


def prompt_and_answer(entry: Mapping[str, Any], prompt_field: str, answer_field: str) -> tuple[Any, Any] | None:
    """Return the values of the prompt and of its answer, or None where one is missing.

    Fields that the user named are taken exactly. Otherwise usual names are tried as well, in any case.

    Raises:
        AmbiguousFieldsError: there are several.
    """
    prompt_name = _field(entry, prompt_field, PROMPT, USUAL_PROMPTS, "--prompt-field")
    if prompt_name is None:
        return None
    answer_name = _field(entry, answer_field, ANSWER, USUAL_ANSWERS, "--answer-field")
    if answer_name is None:
        return None
    prompt = entry[prompt_name]
    about = entry.get(FOR_INSTRUCTION)
    if (
        _plain(prompt_name) == "instruction"
        and isinstance(prompt, str)
        and isinstance(about, str)
        and not is_blank(about)
    ):
        prompt = f"{prompt}\n\n{about}"
    return prompt, entry[answer_name]


def _field(entry: Mapping[str, Any], named: str, default: str, usual: Sequence[str], option: str) -> str | None:
    if named in entry:
        return named
    if named != default:
        return None
    found = [name for name, value in entry.items() if _plain(name) in usual and value is not None]
    if len(found) > 1:
        raise AmbiguousFieldsError(f"{' and '.join(found)} may both be meant; name one with {option}")
    return found[0] if found else None


def _plain(name: Any) -> str:
    return str(name).strip().lower()
