"""Prompts as the model sees them: rendered with the chat template once, and where the user's own words lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prosafeprune.errors import InputError

FIXED_DATE = (
    "{%- macro strftime_now(format) -%}"
    "{{- {'%Y-%m-%d': '2025-01-01', '%B %d, %Y': 'January 01, 2025'}.get(format, '01 Jan 2025') -}}"
    "{%- endmacro -%}"
)
"""Put before templates that write today's date: results must not depend on the day."""


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids of one rendered prompt; the user's own words are the tokens ``user_start`` to before ``user_end``."""

    ids: tuple[int, ...]
    user_start: int
    user_end: int

    def __len__(self) -> int:
        return len(self.ids)


def require_chat_template(tokenizer: Any, name: str) -> None:
    """Raise InputError when the tokenizer cannot render a chat or say where each token came from."""
    if not tokenizer.chat_template:
        raise InputError(f"{name}: its tokenizer has no chat template, so it is no chat model. Give an instruct model.")
    if not tokenizer.is_fast:
        raise InputError(f"{name}: its tokenizer is not a 'fast' one (tokenizer.json is missing). Convert it first.")


def encode_prompts(tokenizer: Any, prompts: Sequence[str], system: str | None = None) -> list[EncodedPrompt]:
    """Render each prompt as a single user turn, ready for the answer, and tokenise it.

    A ``system`` prompt stands before it, if there is one, as :func:`render` says.

    The template already writes the special tokens, so none are added again (a second BOS costs accuracy). Templates
    that can switch thinking off are asked to.

    Raises:
        InputError: the template fails on a plain user turn.
    """
    rendered = [render(tokenizer, prompt, system) for prompt in prompts]
    encoding = tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    encoded = []
    for prompt, text, ids, offsets in zip(
        prompts, rendered, encoding["input_ids"], encoding["offset_mapping"], strict=True
    ):
        # Templates trim what the user wrote, and only ever write around it.
        words = prompt.strip()
        start_character = text.rfind(words)
        end_character = start_character + len(words)
        inside = [i for i, (start, end) in enumerate(offsets) if start < end_character and end > start_character]
        if start_character < 0 or not inside:
            raise InputError("The chat template rewrites the user's words, so they cannot be found in what it renders.")
        encoded.append(EncodedPrompt(tuple(ids), inside[0], inside[-1] + 1))
    return encoded


def render(tokenizer: Any, prompt: str, system: str | None = None) -> str:
    """Return the prompt as one user turn in the model's chat template, with the opening of the answer.

    A system prompt is given its own turn where the template has one; else it stands before the user's words.

    Raises:
        InputError: the template fails on a plain user turn.
    """
    if system is not None:
        try:
            text = _rendered(tokenizer, [{"role": "system", "content": system}, {"role": "user", "content": prompt}])
        except Exception:  # noqa: BLE001 - a template is a program; what it raises where it has no such role is its own
            text = ""
        if system.strip() in text and prompt.strip() in text:
            return text
        prompt = f"{system}\n\n{prompt}"
    try:
        return _rendered(tokenizer, [{"role": "user", "content": prompt}])
    except Exception as error:
        raise InputError(f"The chat template fails on a plain user turn ({error}). Mend the template.") from error


def _rendered(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    template = tokenizer.get_chat_template()
    text = str(
        tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
            chat_template=FIXED_DATE + template if "strftime_now" in template else template,
        )
    )
    # Some templates open a thought whatever they are asked: end it, so that what follows is the answer.
    return text.rstrip() + "\n\n</think>\n\n" if text.rstrip().endswith("<think>") else text


def end_of_turn_ids(tokenizer: Any, known: int | Sequence[int] | None) -> list[int]:
    """Return the ids that end an answer: those already known, and what the template writes right after one."""
    ids = [known] if isinstance(known, int) else list(known or [])
    if not ids and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "answer"}]
        try:
            text = str(tokenizer.apply_chat_template(turns, tokenize=False))
        except Exception:  # noqa: BLE001 - a template is a program; one that renders no answers shows no end
            return ids
        after = tokenizer(text.rpartition("answer")[2], add_special_tokens=False)["input_ids"]
        token = tokenizer.added_tokens_decoder.get(after[0]) if after else None
        # A model learns to stop at a special token; a template that ends turns with a newline alone has none.
        if token is not None and token.special and after[0] not in ids:
            ids.append(after[0])
    return ids
