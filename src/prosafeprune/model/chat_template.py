"""Prompts as the model sees them: rendered once with its chat template, and where the user's text is in them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosafeprune.errors import InputError, first_line
from prosafeprune.files.text_file import read_json_object
from prosafeprune.model import template_process
from prosafeprune.model.template_date import FIXED_DATE
from prosafeprune.model.template_process import TemplateError, TemplateLimitError
from prosafeprune.prompts.conversation import Turn, last_turn, split_system, thinks, with_last_turn
from prosafeprune.text import beginning

LIST_OF_PARTS = re.compile(r"""\[\{['"]type['"]: ['"]text['"]""")
"""How a list of a message's parts looks where a template writes it as it is."""
THINKING = "prosafeprune_thinking"
"""Attribute of a tokenizer: whether the model thinks before it answers any prompt; without it, it does not."""
THOUGHT_START, THOUGHT_END = "<think>", "</think>"
OPENED_THOUGHT = re.compile(r"<((?:\w+[:_])?(?:think|thought))>\s*\Z")
"""How a prompt ends whose template opens the thought; EXAONE Deep's is called ``thought``."""
MARK = "prosafeprune-mark"
"""Text put in place of a prompt, to see where the template writes it."""
SYSTEM_PROMPT = "prosafeprune_system_prompt"
"""Attribute of a tokenizer: the system prompt before every prompt that it encodes."""


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids of one rendered prompt.

    The user's own words, of a conversation those of the last turn, are the tokens from ``user_start`` up to
    ``user_end``.
    """

    ids: tuple[int, ...]
    user_start: int
    user_end: int

    def __len__(self) -> int:
        return len(self.ids)


def read_chat_template(tokenizer: Any, folder: Path) -> None:
    """Give a tokenizer without a chat template the one in ``chat_template.json``, which only processors read.

    Raises:
        InputError: the file holds no template.
    """
    file = folder / "chat_template.json"
    if tokenizer.chat_template or not file.is_file():
        return
    template = read_json_object(file, "chat template").get("chat_template")
    if not isinstance(template, str):
        raise InputError(f"{file}: has no template under chat_template. Fetch the file again.")
    tokenizer.chat_template = template


def require_chat_template(tokenizer: Any, name: str) -> None:
    """Raise InputError when the tokenizer cannot render a chat or locate each token in the text."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{name}: its tokenizer has no chat template, so it is not a chat model. Use an instruct model."
        )
    template = tokenizer.chat_template
    if not all(isinstance(text, str) for text in (template.values() if isinstance(template, dict) else [template])):
        raise InputError(f"{name}: its chat template is not text. Fetch the tokenizer's files again.")
    if not tokenizer.is_fast:
        raise InputError(f"{name}: its tokenizer is not a 'fast' one (tokenizer.json is missing). Convert it first.")


def set_system_prompt(tokenizer: Any, system: str | None) -> None:
    """Put a system prompt before every prompt that this tokenizer encodes from now on; None puts none."""
    setattr(tokenizer, SYSTEM_PROMPT, system)


def set_thinking(tokenizer: Any, thinking: str, name: str) -> bool:
    """Let the model think before it answers (``on``), not (``off``), or before prompts that say so (``both``).

    Returns:
        Whether the chat template of the model ``name`` can switch thinking.

    Raises:
        InputError: it is to think, and the template has no switch for it.
    """
    rendered = []
    for state in (thinking != "on", thinking == "on"):
        setattr(tokenizer, THINKING, state)
        rendered.append(render(tokenizer, "Hello"))
    if thinking != "off" and rendered[0] == rendered[1]:
        raise InputError(f"--thinking {thinking}: the chat template of {name} cannot switch it. Leave it out.")
    return rendered[0] != rendered[1]


def thinking_variables(thinking: bool) -> dict[str, bool]:
    """Return the variables by which chat templates switch thinking.

    Those of Qwen3, SmolLM3 and GLM read the first, those of DeepSeek V3.1 and Granite the second.
    """
    return {"enable_thinking": thinking, "thinking": thinking}


def encode_prompts(
    tokenizer: Any, prompts: Sequence[str], system: str | None = None, history: Sequence[Turn] = ()
) -> list[EncodedPrompt]:
    """Render each prompt, plain text as a single user turn, ready for the answer, and tokenise it.

    A further system prompt and earlier turns come before it, as :func:`render` says. The template already writes the
    special tokens, so none are added again (a second BOS costs accuracy). Thinking is off unless :func:`set_thinking`
    turned it on, or a prompt asks for it.

    Raises:
        InputError: the template fails on a plain user turn, changes the user's words or exceeds a limit.
    """
    rendered = [render(tokenizer, prompt, system, history) for prompt in prompts]
    encoding = _tokenised(tokenizer, rendered, return_offsets_mapping=True)
    encoded = []
    for prompt, text, ids, offsets in zip(
        prompts, rendered, encoding["input_ids"], encoding["offset_mapping"], strict=True
    ):
        # Templates trim what the user wrote, and only ever write around it.
        words = last_turn(prompt).strip()
        start_character = text.rfind(words)
        if text.count(words) > 1:  # in an earlier turn, or in what the template itself writes
            marked = render(tokenizer, with_last_turn(prompt, MARK), system, history).rfind(MARK)
            if marked >= 0 and text.startswith(words, marked):
                start_character = marked
        end_character = start_character + len(words)
        inside = [i for i, (start, end) in enumerate(offsets) if start < end_character and end > start_character]
        if not inside:
            raise InputError(
                "The chat template changes the user's text, so it cannot be located. Correct the template."
            )
        encoded.append(EncodedPrompt(tuple(ids), inside[0], inside[-1] + 1))
    return encoded


def render(tokenizer: Any, prompt: str, system: str | None = None, history: Sequence[Turn] = ()) -> str:
    """Return the prompt in the model's chat template, with the opening of the answer.

    A system prompt, that of :func:`set_system_prompt` followed by the prompt's own and ``system``, gets its own turn
    where the template has one; otherwise it is put before the user's first words. The turns of ``history``, user and
    assistant by turns, come before the prompt's.

    Raises:
        InputError: the template fails on a plain user turn, changes the user's words or exceeds a limit.
    """
    own, turns = split_system(prompt)
    turns = (*history, *turns)
    thinking = _thinks_before(tokenizer, prompt)
    system_turn = _system_turn(tokenizer, own, system)
    if system_turn:
        text, _ = _rendered(tokenizer, [*system_turn, *turns], thinking=thinking)
        if text is not None:
            return _ready_for_answer(text, thinking)
        first = [role for role, _ in turns].index("user")
        words = f"{system_turn[0][1]}\n\n{turns[first][1]}"
        turns = (*turns[:first], ("user", words), *turns[first + 1 :])
    text, reason = _rendered(tokenizer, turns, thinking=thinking)
    if text is not None:
        return _ready_for_answer(text, thinking)
    if _rendered(tokenizer, [("system", "You are a helpful assistant."), *turns])[0] is not None:
        raise InputError(
            f"The chat template requires a system prompt ({reason}). Give one with --system, such as --system 'You are "
            "a helpful assistant.'"
        )
    if len(turns) == 1:
        raise InputError(f"The chat template fails on a plain user turn ({reason}). Correct the template.")
    raise InputError(
        f"The chat template fails on the conversation of {len(turns)} turns that begins with the {turns[0][0]}'s "
        f"{beginning(turns[0][1], 60)!r} ({reason}). Where user and assistant must alternate, the user first, "
        "change or leave out this prompt; else correct the template."
    )


def always_opens_thought(tokenizer: Any) -> bool:
    """Return whether the template opens a thought even when asked not to, so that the prompt has to end it."""
    text, _ = _rendered(tokenizer, [*_system_turn(tokenizer), ("user", "Hello")])
    return text is not None and OPENED_THOUGHT.search(text) is not None


def with_opened_thought(tokenizer: Any, prompt: str, answer: str) -> str:
    """Return an answer that ended within a thought with the marker that opens it, where the template wrote that one.

    Otherwise nothing in the text says that it is a thought. One that is closed can be recognised by that.

    Raises:
        InputError: as :func:`render` does.
    """
    if not _thinks_before(tokenizer, prompt) or THOUGHT_START in answer or THOUGHT_END in answer:
        return answer
    opened = OPENED_THOUGHT.search(render(tokenizer, prompt))
    return answer if opened is None or f"</{opened[1]}>" in answer else f"{THOUGHT_START}{answer}"


def end_of_turn_ids(tokenizer: Any, known: Any) -> list[int]:
    """Return the ids that end an answer: those already known, and what the template writes right after one.

    Args:
        tokenizer: the model's.
        known: ``eos_token_id`` of the generation config: an id, a list of ids or None.

    Raises:
        InputError: ``known`` is something else, or the template exceeds a limit.
    """
    ids = [known] if not isinstance(known, list | tuple) else list(known)
    ids = [end_id for end_id in ids if end_id is not None]
    if not all(isinstance(end_id, int) and not isinstance(end_id, bool) and end_id >= 0 for end_id in ids):
        raise InputError(
            f"The model's generation config says eos_token_id = {json.dumps(known, default=str)[:60]}, which is not a "
            "token id. Correct generation_config.json."
        )
    if not ids and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    written = _written_end(tokenizer)
    if written is not None and written not in ids:
        ids.append(written)
    return ids


def answer_end(tokenizer: Any, end_ids: Sequence[int]) -> list[int]:
    """Return the one of ``end_ids`` that ends an answer in a chat, in a list; an empty one if there is none.

    It is the one that the template writes. Those of the generation config are in any order: Llama 3's begins with the
    end of a text, which its answers do not end with.
    """
    written = _written_end(tokenizer)
    return [written] if written is not None and written in end_ids else list(end_ids[:1])


def _written_end(tokenizer: Any) -> int | None:
    """Return the special token that the template writes right after an answer, or None."""
    if not tokenizer.chat_template:
        return None
    turns = [*_system_turn(tokenizer), ("user", "a"), ("assistant", "answer")]
    text, _ = _rendered(tokenizer, turns, opens_answer=False)
    after = _tokenised(tokenizer, text.rpartition("answer")[2])["input_ids"] if text else []
    token = tokenizer.added_tokens_decoder.get(after[0]) if after else None
    # A model learns to stop at a special token; a template that ends turns with just a newline has none.
    return int(after[0]) if token is not None and token.special else None


def _tokenised(tokenizer: Any, text: str | list[str], **options: Any) -> Any:
    """Return the encoding of texts, special tokens not added. Raises InputError when the tokenizer fails on one."""
    try:
        return tokenizer(text, add_special_tokens=False, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # Rust panics in tokenizers derive from BaseException
        raise InputError(
            f"The tokenizer fails on a rendered prompt ({first_line(error)}). Restore the model's own tokenizer files "
            "and chat template."
        ) from error


def _system_turn(tokenizer: Any, *further: str | None) -> list[Turn]:
    """Return the system turn of a chat: none without a system prompt."""
    parts = [text for text in (getattr(tokenizer, SYSTEM_PROMPT, None), *further) if text is not None]
    return [("system", "\n\n".join(parts))] if parts else []


def _rendered(
    tokenizer: Any, turns: Sequence[Turn], *, opens_answer: bool = True, thinking: bool = False
) -> tuple[str | None, str]:
    """Return the chat with all that was said in it, or None and why there is no such text.

    Templates of models that read images walk over the parts of a message, and find none in a string.
    """
    reason = "it does not write the user's words"
    for as_parts in (False, True):
        messages = [
            {"role": role, "content": [{"type": "text", "text": words}] if as_parts else words} for role, words in turns
        ]
        try:
            template = tokenizer.get_chat_template()
            options = {"add_generation_prompt": opens_answer, **thinking_variables(thinking)}
            dated = FIXED_DATE + template if "strftime_now" in template else template
            text = template_process.shared.render(dated, messages, {**tokenizer.special_tokens_map, **options})
        except TemplateLimitError as error:
            raise InputError(f"The chat template cannot be used: {error}. Correct the template.") from error
        except (TemplateError, ValueError) as error:
            reason = str(error) if not as_parts else reason
            continue
        is_repr = as_parts and LIST_OF_PARTS.search(text)  # it wrote the list, not what is in it
        if all(_said(*turn) in text for turn in turns) and not is_repr:
            return text, ""
    return None, reason


def _said(role: str, words: str) -> str:
    """Return what the template has to write of a turn: of an earlier answer not its thought, which some leave out."""
    return (words.rpartition(THOUGHT_END)[2] if role == "assistant" else words).strip()


def _ready_for_answer(text: str, thinking: bool) -> str:
    # Some templates open a thought whatever they are asked: end it, unless the model is to think.
    opened = None if thinking else OPENED_THOUGHT.search(text)
    return text if opened is None else f"{text.rstrip()}\n\n</{opened[1]}>\n\n"


def _thinks_before(tokenizer: Any, prompt: str) -> bool:
    return getattr(tokenizer, THINKING, False) or thinks(prompt)
