"""Guard models as judges: what they have in common, and how they are asked in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch

from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.judges.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache

Respond = Callable[[Sequence[Exchange]], Iterator[tuple[int, str | Verdict]]]
"""Yields each exchange's index with the guard's reply, or with a verdict if it cannot be asked."""
TOO_LONG = Verdict(AnswerClass.UNDETERMINED, "prompt and answer are too long for the judge")


class GuardJudge:
    """Distinguishes refusal from compliance, and harmful from harmless answers; has no class for partial refusals."""

    def __init__(self, name: str, respond: Respond, read: Callable[[str], Verdict]) -> None:
        self.name = name
        self._respond, self._read = respond, read

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order.

        Raises:
            InputError: the server cannot be reached, or out of memory with a single exchange.
        """
        replies = dict(self._respond(exchanges))
        in_order = [replies[row] for row in range(len(exchanges))]
        return [reply if isinstance(reply, Verdict) else self._read(reply) for reply in in_order]


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


# On a generator function, torch enters inference mode at each resumption and leaves it at each yield.
@torch.inference_mode()
def continue_texts(
    loaded: LoadedModel, texts: Sequence[str], max_new_tokens: int, batch_size: int | Literal["auto"]
) -> Iterator[tuple[int, str]]:
    """Yield the index of each text with the model's continuation, longest texts first.

    The tokenizer adds its special tokens (usually BOS), since no chat template has.

    Raises:
        InputError: out of memory with a single text or at a fixed batch size.
    """
    encoded = loaded.tokenizer(list(texts))["input_ids"]
    prefix = PrefixCache(loaded.model, [tuple(ids) for ids in encoded], max_new_tokens)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)

    def continue_batch(indices: Sequence[int]) -> Iterator[tuple[int, str]]:
        choice = TokenChoice(0.0, [""] * len(indices))
        suffixes = [encoded[index][prefix.length :] for index in indices]
        for row, ids, _ in decode_batch(loaded, suffixes, prefix, max_new_tokens, choice):
            yield indices[row], str(loaded.tokenizer.decode(ids, skip_special_tokens=True))

    yield from BatchSize(batch_size, loaded.device).stream(order, continue_batch)
