"""Judge models in memory. Exchanges longer than the model's positions are undetermined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from prosafeprune.generation.continuation import continue_texts
from prosafeprune.judge.verdict import AnswerClass, Verdict
from prosafeprune.model.loading import LoadedModel

TOO_LONG = Verdict(AnswerClass.UNDETERMINED, "prompt and answer are too long for the judge")


def ask_in_memory(
    loaded: LoadedModel, questions: Sequence[str], max_new_tokens: int, batch_size: int | Literal["auto"]
) -> Iterator[tuple[int, str | Verdict]]:
    """Yield each question's index with the model's reply, or with a verdict if the question is too long.

    Raises:
        InputError: out of memory with a single question, or at a fixed batch size.
    """
    positions = getattr(loaded.model.config, "max_position_embeddings", None) or 10**9
    lengths = [len(ids) for ids in loaded.tokenizer(list(questions))["input_ids"]]
    fitting = [row for row, length in enumerate(lengths) if length + max_new_tokens <= positions]
    yield from ((row, TOO_LONG) for row in range(len(questions)) if row not in set(fitting))
    if fitting:
        for place, text in continue_texts(loaded, [questions[row] for row in fitting], max_new_tokens, batch_size):
            yield fitting[place], text
