"""Examples of prompts with answers, and the losses that they are trained on."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from prosafeprune.model.batches import accepted, last_tokens, pad_batch
from prosafeprune.model.chat_template import answer_end, encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.training.answer_tokens import answer_opening, answer_tokens, without_cut_character

IN_PASS = 2
"""Examples in one pass of :func:`in_passes`: more take more memory for activations and logits, and more padding."""
IGNORED = -100
"""A target without a loss."""


@dataclass(frozen=True)
class Example:
    """A prompt and its target answer, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """Tokens of the answer, with the end token unless the answer was cut off."""
    anchored: bool = False
    """Whether the answer is the model's own and its distributions are to stay as they are (:func:`answer_loss`)."""


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
    tokenizer = loaded.tokenizer
    end, opening = answer_end(tokenizer, loaded.end_ids), answer_opening(tokenizer)
    examples = []
    for i, (prompt, encoded) in enumerate(zip(prompts, encode_prompts(tokenizer, prompts), strict=True)):
        answer, is_finished = answers[i % len(answers)], finished is None or finished[i % len(answers)]
        words = answer if is_finished else without_cut_character(answer)
        tokens = answer_tokens(tokenizer, prompt, encoded.ids, words, opening)
        examples.append(Example(encoded.ids, (*tokens, *(end if is_finished else []))))
    return examples


def answer_loss(
    loaded: LoadedModel,
    examples: Sequence[Example],
    without_adapter: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.Tensor:
    """Return the mean over answer tokens of the cross entropy or, for anchored examples, ``KL(before || now)``.

    ``before`` is the next-token distribution without the adapter, ``now`` the one with it; in nats per token.

    Args:
        without_adapter: a context in which ``loaded`` is the model before training; needed for anchored examples.
    """
    logits, targets = _answer_logits(loaded, examples)
    terms = []
    for row, example in enumerate(examples):
        counted = targets[row] != IGNORED
        now = logits[row, counted].log_softmax(dim=-1)
        if example.anchored:
            with torch.no_grad(), without_adapter():
                before = _answer_logits(loaded, [example])[0][0].log_softmax(dim=-1)
            terms.append(nn.functional.kl_div(now, before, log_target=True, reduction="sum"))
        else:
            terms.append(nn.functional.nll_loss(now, targets[row, counted], reduction="sum"))
    return torch.stack(terms).sum() / sum(len(example.answer) for example in examples)


def _answer_logits(loaded: LoadedModel, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits ``(examples, longest answer, vocabulary)``, float32, at answer tokens, and the target ids.

    Rows are padded on the left: a target before a row's answer is IGNORED.
    """
    model = loaded.model
    batch = pad_batch([[*example.prompt, *example.answer] for example in examples], 0, "left", loaded.device)
    longest = max(len(example.answer) for example in examples)
    # With left padding the answers of all rows end together; logits are computed at their positions only.
    answers = last_tokens(longest + 1)[:-1]
    options = accepted(model, position_ids=batch.positions, logits_to_keep=answers)
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, **options).logits
    if "logits_to_keep" not in options:
        logits = logits[:, answers]
    targets = batch.ids[:, batch.ids.shape[1] - longest :].clone()
    for row, example in enumerate(examples):
        targets[row, : longest - len(example.answer)] = IGNORED
    return logits.float(), targets


def in_passes(batch: Sequence[Example]) -> list[tuple[Sequence[Example], float]]:
    """Split a batch into passes of examples of similar length, each with its share of :func:`answer_loss`.

    Examples without answer tokens, which have no loss, are left out.
    """
    ordered = sorted(
        (example for example in batch if example.answer), key=lambda example: len(example.prompt) + len(example.answer)
    )
    passes = [ordered[start : start + IN_PASS] for start in range(0, len(ordered), IN_PASS)]
    total = sum(len(example.answer) for example in batch)
    return [(part, sum(len(example.answer) for example in part) / total) for part in passes]
