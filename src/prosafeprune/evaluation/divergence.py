"""Per-token KL divergence of a changed model from its base model on benign prompts.

Accuracy on a few hundred questions cannot resolve a change of a point or two; next-token distributions can be compared
to many digits on a few dozen prompts. The base model runs first and its distributions are kept, so that two models are
never in memory at once: the same object may be edited in place, or freed and another one loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import BaseModel

from prosafeprune.errors import InputError
from prosafeprune.evaluation.intervals import bootstrap_mean_interval
from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.generation.local import LocalGenerator, LogitsAlong
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.model.storage import large_tensor
from prosafeprune.progress import Advance, ignore

FIRST_TOKENS = 8
"""Answer positions compared by default: where a model decides how to answer."""
CPU = torch.device("cpu")


class Divergence(BaseModel):
    """KL(base || changed) of the next-token distributions along the base model's greedy answers, in nats."""

    mean: float
    """Mean over the positions of each prompt, then over prompts."""
    low: float
    """Lower bound of the 95 % bootstrap interval of the mean over prompts."""
    high: float
    per_position: list[float]
    """The mean at each position, from the first answer token on, over the prompts whose answer reaches it."""
    percentile_95: float
    """95th percentile of the prompts' means."""
    worst: float
    """The largest of the prompts' means."""
    worst_prompt: str
    tokens: int
    """Maximum number of positions compared in each prompt."""
    positions: int
    """Number of positions compared in total; those after the end of an answer are not counted."""
    prompts: int


@dataclass(frozen=True)
class BaseAnswers:
    """The base model's answers, with the distributions they were chosen from."""

    prompts: tuple[str, ...]
    prompt_ids: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    """The tokens after which distributions are compared: ``n`` tokens give ``n + 1`` positions."""
    batch_size: int
    """Final batch size, in prompts."""
    log_probabilities: torch.Tensor
    """``(prompts, tokens, vocabulary)``, float16, on the CPU or in a temporary file; undefined after an answer's end.

    float16 takes two bytes per vocabulary entry: 120 MB for 50 prompts, 8 tokens and a vocabulary of 152,000. Rounding
    moves the divergence by less than a hundredth of its value, or by 1e-5 where it is 0 (1e-7 on a 0.5 B model), once
    the rounded probabilities are normalised again.
    """


def record_base_answers(
    loaded: LoadedModel,
    prompts: Sequence[str],
    batch_size: BatchSize,
    advance: Advance = ignore,
    *,
    tokens: int = FIRST_TOKENS,
) -> BaseAnswers:
    """Return the model's greedy answers of at most ``tokens`` tokens, with the distribution before each of them.

    The distributions come from a second pass over the answers, not from decoding: the changed model is run by passes
    of the same shape, so that in half precision the rounding errors are alike and cancel. Measured on a 135 M model in
    bfloat16 compared with itself: 2e-7 this way, 1.4e-3 with the distributions of decoding, 7e-4 with another batch
    size.

    Raises:
        InputError: out of memory with a single prompt or at a fixed batch size, the output is not finite, or there is
            no room for a temporary file.
    """
    ids = [encoded.ids for encoded in encode_prompts(loaded.tokenizer, prompts)]
    runner = _AnswerRunner(loaded, ids, tokens)
    answers: list[tuple[int, ...]] = [()] * len(ids)
    stored: list[torch.Tensor] = []

    def work(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
        decoded = runner.decode(rows)
        for row, answer, logits in zip(rows, decoded, runner.logits(rows, decoded), strict=True):
            if not stored:  # the width of the output is known only now: it may exceed the tokenizer's vocabulary
                shape = (len(ids), tokens, logits.shape[-1])
                stored.append(large_tensor(shape, torch.float16, CPU, "the base model's distributions"))
            stored[0][row, : len(logits)] = logits.float().log_softmax(dim=-1).half().cpu()
            answers[row] = answer
            yield row, None

    with torch.inference_mode():
        for _ in batch_size.stream(runner.order, work):
            advance(1)
    return BaseAnswers(tuple(prompts), tuple(ids), tuple(answers), batch_size.size, stored[0])


def divergence_from_base(
    base: BaseAnswers, loaded: LoadedModel, batch_size: BatchSize, advance: Advance = ignore
) -> Divergence:
    """Return the divergence of ``loaded`` from its base model along the base model's answers.

    An automatic batch size is capped at the base model's.

    Raises:
        InputError: the model tokenises the prompts differently or has another vocabulary, its output is not finite, or
            as for ``record_base_answers``.
    """
    ids = tuple(encoded.ids for encoded in encode_prompts(loaded.tokenizer, base.prompts))
    if ids != base.prompt_ids:
        raise InputError(
            f"{loaded.name}: tokenises prompts differently from its base model. Compare models of the same family."
        )
    batch_size.cap(base.batch_size)
    tokens, vocabulary = base.log_probabilities.shape[1:]
    runner = _AnswerRunner(loaded, ids, tokens)
    by_prompt: list[np.ndarray] = [np.empty(0)] * len(ids)

    def work(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
        for row, logits in zip(rows, runner.logits(rows, [base.answers[row] for row in rows]), strict=True):
            if logits.shape[-1] != vocabulary:
                raise InputError(
                    f"{loaded.name}: has {logits.shape[-1]} output tokens and its base model {vocabulary}. Compare "
                    "models of the same family."
                )
            stored = base.log_probabilities[row, : len(logits)].to(logits.device)
            by_prompt[row] = token_divergence(stored, logits).cpu().numpy()
            yield row, None

    with torch.inference_mode():
        for _ in batch_size.stream(runner.order, work):
            advance(1)
    return _summarise(base.prompts, by_prompt, tokens)


def decoded_base(base: BaseAnswers, generator: LocalGenerator, advance: Advance = ignore) -> BaseAnswers:
    """Return the base model's answers with the distributions of its decoding, token by token along them.

    A method that changes prompts or decoding is run in this way too, so that rounding errors are alike.

    Raises:
        InputError: as the generator does, or there is no room for a temporary file.
    """
    stored = large_tensor(tuple(base.log_probabilities.shape), torch.float16, CPU, "the base model's distributions")
    for row, logits in generator.logits_along(base.prompts, base.answers):
        stored[row, : len(logits)] = logits.float().log_softmax(dim=-1).half().cpu()
        advance(1)
    return replace(base, log_probabilities=stored)


def divergence_of_decoding(base: BaseAnswers, follow: LogitsAlong, advance: Advance = ignore) -> Divergence:
    """Return the divergence of what a method chooses tokens from, along the base model's answers.

    The method reads its own prompts, decodes by its own rule and is given the answers' tokens one by one.

    Args:
        base: what :func:`decoded_base` returns.
        follow: runs the method.

    Raises:
        InputError: as the generator does, or the output is not finite.
    """
    by_prompt: list[np.ndarray] = [np.empty(0)] * len(base.prompts)
    for row, logits in follow(base.prompts, base.answers):
        _require_finite(logits, "The method")
        stored = base.log_probabilities[row, : len(logits)].to(logits.device)
        by_prompt[row] = token_divergence(stored, logits).cpu().numpy()
        advance(1)
    return _summarise(base.prompts, by_prompt, base.log_probabilities.shape[1])


def token_divergence(base_log_probabilities: torch.Tensor, changed_logits: torch.Tensor) -> torch.Tensor:
    """Return ``KL(p || q) = sum p (log p - log q)`` in nats for each row of two ``(positions, vocabulary)`` matrices.

    Both are normalised here, since rounded log-probabilities do not quite sum to 1: without that the error would be of
    first order in the rounding, with it of second.
    """
    exact = torch.float32 if changed_logits.device.type == "mps" else torch.float64
    log_p = base_log_probabilities.to(exact).log_softmax(dim=-1)
    log_q = changed_logits.to(exact).log_softmax(dim=-1)
    p = log_p.exp()
    # Some models mask tokens with minus infinity: a term without probability is 0, not 0 * (-inf + inf).
    terms = torch.where(p > 0, p * (log_p - log_q), p.new_zeros(()))
    return terms.sum(dim=-1).clamp(min=0)


class _AnswerRunner:
    """Runs a model on prompts followed by the first tokens of answers; the shared prefix is run once."""

    def __init__(self, loaded: LoadedModel, prompt_ids: Sequence[tuple[int, ...]], tokens: int) -> None:
        self.loaded, self.prompt_ids, self.tokens = loaded, prompt_ids, tokens
        self.order = sorted(range(len(prompt_ids)), key=lambda row: len(prompt_ids[row]), reverse=True)
        self.prefix = PrefixCache(loaded.model, prompt_ids, tokens)

    def decode(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the greedy answers to some prompts, each without the token chosen at its last position.

        The position where an answer ends is one of its positions: to end there is a choice too.
        """
        suffixes = [self.prompt_ids[row][self.prefix.length :] for row in rows]
        greedy = TokenChoice(0.0, [""] * len(rows))
        answers: list[tuple[int, ...]] = [()] * len(rows)
        for index, ids, ended in decode_batch(self.loaded, suffixes, self.prefix, self.tokens, greedy):
            answers[index] = tuple(ids if ended else ids[:-1])
        return answers

    def logits(self, rows: Sequence[int], answers: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """Yield, for each prompt with its answer of ``n`` tokens, the logits ``(n + 1, vocabulary)`` of its positions.

        Raises InputError when they are not finite.
        """
        start = self.prefix.length
        suffixes = [[*self.prompt_ids[row][start:], *answer] for row, answer in zip(rows, answers, strict=True)]
        logits = self.prefix.run(suffixes, logits=max(map(len, answers)) + 1).logits
        for row, answer in zip(logits, answers, strict=True):
            positions = row[-len(answer) - 1 :]
            _require_finite(positions, self.loaded.name)
            yield positions


def _require_finite(logits: torch.Tensor, whose: str) -> None:
    """Raise InputError for logits that are not finite; minus infinity is allowed, some models mask tokens with it."""
    if torch.isnan(logits).any() or torch.isposinf(logits).any():
        raise InputError(f"{whose}: its output is not finite. Use --dtype float32 or bfloat16.")


def _summarise(prompts: Sequence[str], by_prompt: Sequence[np.ndarray], tokens: int) -> Divergence:
    means = np.array([values.mean() for values in by_prompt])
    low, high = bootstrap_mean_interval(means)
    reached = [[values[position] for values in by_prompt if len(values) > position] for position in range(tokens)]
    return Divergence(
        mean=float(means.mean()),
        low=low,
        high=high,
        per_position=[float(np.mean(values)) for values in reached if values],
        percentile_95=float(np.quantile(means, 0.95)),
        worst=float(means.max()),
        worst_prompt=prompts[int(means.argmax())],
        tokens=tokens,
        positions=sum(map(len, by_prompt)),
        prompts=len(prompts),
    )
