"""Supervised fine-tuning: a LoRA adapter trained to answer pseudo-harmful prompts and to refuse harmful ones.

Pairs are a pseudo-harmful prompt with a helpful answer, a harmful one with a refusal and a benign one with an answer.
The answers are the model's own, or, for pseudo-harmful prompts, from a file. The loss is the cross entropy of the
answers' tokens. The adapter is merged into the weights in memory while the model answers.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from prosafeprune.baselines.answer_training import AnswerTraining
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.own_answers import OwnAnswers, Pair
from prosafeprune.errors import InputError
from prosafeprune.files.user_path import user_path
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import usable_positions
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.conversation import last_turn
from prosafeprune.prompts.rows import Row, csv_rows, first_column, json_rows, require_complete_characters
from prosafeprune.prompts.sources import SYSTEM, prompt_of_row
from prosafeprune.text import beginning, is_blank

PROMPT_FIELDS = ("prompt", "instruction", "question")
INPUT_FIELD = "input"
"""In Alpaca's format, the text that an instruction is about; the two together are the prompt."""
HISTORY_FIELD = "history"
"""In that format, the turns before the instruction."""
ANSWER_FIELDS = ("instruct_response", "response", "answer", "completion", "output")
"""The first one present is used. ``instruct_response`` is the plain answer of FalseReject's training set
(arXiv:2505.08054), whose ``cot_response`` has a chain of thought."""


class Sft(AnswerTraining):
    """Supervised fine-tuning with LoRA on pairs of the three classes."""

    name: ClassVar[str] = "sft"
    title: ClassVar[str] = "SFT"
    data: Path | None = Field(
        None,
        exclude=True,
        description="A .jsonl or .csv file of pseudo-harmful prompts with helpful answers, not the model's own.",
    )
    data_sha256: str | None = Field(None, description="Hash of the pairs in that file; found when it is read.")

    @model_validator(mode="before")
    @classmethod
    def _hash_data(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("data") is not None:
            return {**values, "data_sha256": pairs_hash(read_pairs(user_path(values["data"])))}
        return values

    def further_prompts(self) -> Sequence[PromptSet]:
        """Return the prompts of the file. Raises InputError when it cannot be read."""
        if self.data is None:
            return ()
        prompts = tuple(Prompt(pair.prompt) for pair in read_pairs(user_path(self.data)))
        return (PromptSet(PromptClass.PSEUDO_HARMFUL, str(self.data), prompts),)

    def pairs(self, context: FitContext) -> dict[PromptClass, list[Pair]]:
        """Return the model's own answers that are what they should be, and the user's to pseudo-harmful prompts."""
        own = OwnAnswers(context, self.prompts, self.answer_tokens, self.title)
        if self.data is None:
            return {prompt_class: own.pairs(prompt_class) for prompt_class in PromptClass}
        given = read_pairs(user_path(self.data))
        chosen = random.Random(context.seed).sample(given, min(self.prompts, len(given)))
        self._require_positions(context.loaded, chosen)
        own_pairs = {
            prompt_class: own.pairs(prompt_class) for prompt_class in (PromptClass.BENIGN, PromptClass.HARMFUL)
        }
        return {**own_pairs, PromptClass.PSEUDO_HARMFUL: chosen}

    def _require_positions(self, loaded: LoadedModel, given: Sequence[Pair]) -> None:
        """Raise InputError for a pair that is longer than the model's positions. Own answers were made within them."""
        positions, _ = usable_positions(loaded.model.config.get_text_config(decoder=True))
        for pair, example in zip(given, self._examples(loaded, given), strict=True):
            tokens = len(example.prompt) + len(example.answer)
            if positions is not None and tokens > positions:
                raise InputError(
                    f"{self.data}: the prompt {beginning(last_turn(pair.prompt), 60)!r} takes {tokens} tokens with its "
                    f"answer, and the model has {positions} positions. Shorten it or remove the row."
                )


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs of pseudo-harmful prompts and helpful answers from a .jsonl or .csv file, the first of each prompt.

    Where a row has a ``system`` prompt, its prompt is a conversation.

    Raises:
        InputError: no such file, another type of file, a row without prompt or answer or with earlier turns, or no row
            at all.
    """
    kind = path.suffix.lower()
    if kind not in (".jsonl", ".csv"):
        raise InputError(f"{path}: training pairs are read from .jsonl and .csv files; convert it to one of them.")
    pairs: dict[str, Pair] = {}
    for number, row in json_rows(path) if kind == ".jsonl" else csv_rows(path):
        place = f"{path}, line {number}"
        prompt, answer = (_text(row, fields, place) for fields in (PROMPT_FIELDS, ANSWER_FIELDS))
        if INPUT_FIELD in row and PROMPT_FIELDS[0] not in row and not is_blank(str(row[INPUT_FIELD] or "")):
            prompt = f"{prompt}\n\n{_text(row, (INPUT_FIELD,), place)}"
        if row.get(HISTORY_FIELD) not in (None, "", "[]", []):
            raise InputError(f"{place}: '{HISTORY_FIELD}' has earlier turns, which are not trained on. Remove the row.")
        prompt = prompt_of_row({SYSTEM: row.get(SYSTEM), PROMPT_FIELDS[0]: prompt}, PROMPT_FIELDS[:1], place)
        pairs.setdefault(prompt, Pair(prompt, answer, finished=True))
    if not pairs:
        raise InputError(f"{path}: has no rows. Give at least one prompt with its answer.")
    return list(pairs.values())


def pairs_hash(pairs: list[Pair]) -> str:
    """Return the sha256 over prompts and answers, in order."""
    digest = hashlib.sha256()
    for text in _texts(pairs):
        digest.update(text.encode(errors="replace"))
        digest.update(b"\0")
    return digest.hexdigest()


def _texts(pairs: list[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield pair.prompt
        yield pair.answer


def _text(row: Row, fields: tuple[str, ...], place: str) -> str:
    field = first_column(row, fields, place, f"Others that are read: {', '.join(fields[1:])}.")
    text = row[field]
    if not isinstance(text, str) or is_blank(text):
        raise InputError(f"{place}: '{field}' is empty or not text. Fix or remove the row.")
    require_complete_characters(text, place)
    return text.strip()
