"""Training examples: a prompt with its target answer, and the loss on the answer's tokens alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prosafeprune.model.batches import accepted, last_tokens, pad_batch
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel


@dataclass(frozen=True)
class Example:
    """A prompt and its target answer, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """Including the end token, unless the answer is only the beginning of one."""


def make_examples(
    loaded: LoadedModel, prompts: Sequence[str], answers: Sequence[str], finished: Sequence[bool] | None = None
) -> list[Example]:
    """Pair prompts with answers, which are cycled if there are fewer; at least one is needed.

    Args:
        loaded: renders and tokenises the prompts.
        prompts: one user turn each.
        answers: the target texts.
        finished: which answers are complete and so get an end token; default: all.
    """
    encoded = encode_prompts(loaded.tokenizer, prompts)
    ids = loaded.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    end = loaded.end_ids[:1]
    ends = [end if finished is None or finished[i] else [] for i in range(len(ids))]
    return [Example(prompt.ids, (*ids[i % len(ids)], *ends[i % len(ids)])) for i, prompt in enumerate(encoded)]


def answer_loss(loaded: LoadedModel, examples: Sequence[Example]) -> torch.Tensor:
    """Return the mean cross entropy of the examples' answers, in nats per token."""
    model = loaded.model
    batch = pad_batch([[*one.prompt, *one.answer] for one in examples], 0, "left", loaded.device)
    longest = max(len(one.answer) for one in examples)
    width = batch.ids.shape[1]
    # With left padding the answers of all rows end together; logits are computed at their positions only.
    answers = last_tokens(longest + 1)[:-1]
    options = accepted(model, position_ids=batch.positions, logits_to_keep=answers)
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **options).logits
    if "logits_to_keep" not in options:
        logits = logits[:, answers]
    targets = batch.ids[:, width - longest :].clone()
    for row, one in enumerate(examples):
        targets[row, : longest - len(one.answer)] = -100
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)
