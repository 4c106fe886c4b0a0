"""The published methods as their equations say: one prompt at a time, the whole sequence run again for each token.

Nothing of the package is used but the rendering of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from prosafeprune.model.chat_template import render

Layer = torch.nn.Module


def ids_of(tiny: Any, prompt: str, system: str | None = None, behind: str = "") -> list[int]:
    ids = list(tiny.tokenizer(render(tiny.tokenizer, prompt, system), add_special_tokens=False)["input_ids"])
    return ids + list(tiny.tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else [])


@torch.no_grad()
def last_logits(tiny: Any, ids: Sequence[int]) -> torch.Tensor:
    return tiny.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].float()


def greedy(tiny: Any, next_logits: Callable[[list[int]], torch.Tensor], tokens: int) -> str:
    written: list[int] = []
    for _ in range(tokens):
        token = int(next_logits(written).argmax())
        if token in tiny.end_ids:
            break
        written.append(token)
    return str(tiny.tokenizer.decode(written, skip_special_tokens=True)).strip()


def plain(tiny: Any, prompt: str, tokens: int, system: str | None = None) -> str:
    ids = ids_of(tiny, prompt, system)
    return greedy(tiny, lambda written: last_logits(tiny, ids + written), tokens)


def self_cd(tiny: Any, prompt: str, tokens: int, ratio: float, stress: str) -> str:
    with_, without = ids_of(tiny, f"{stress} {prompt}"), ids_of(tiny, prompt)

    def next_logits(written: list[int]) -> torch.Tensor:
        z_with, z_without = last_logits(tiny, with_ + written), last_logits(tiny, without + written)
        return z_with - ratio * (z_with - z_without)

    return greedy(tiny, next_logits, tokens)


@torch.no_grad()
def states(tiny: Any, ids: Sequence[int]) -> torch.Tensor:
    """``(layers + 1, tokens, d)``."""
    out = tiny.model(input_ids=torch.tensor([list(ids)]), use_cache=False, output_hidden_states=True)
    return torch.stack(out.hidden_states)[:, 0].float()


def end_of_turn(tiny: Any, ids: Sequence[int], prompt: str) -> int:
    """The first end token behind the user's words; these are the last words that the template renders."""
    text = render(tiny.tokenizer, prompt)
    before = text[: text.rfind(prompt.strip()) + len(prompt.strip())]
    start = len(tiny.tokenizer(before, add_special_tokens=False)["input_ids"])
    ends = [place for place in range(start, len(ids)) if ids[place] in tiny.end_ids]
    return ends[0] if ends else len(ids) - 1


def scan_vectors(tiny: Any, harmful: Sequence[str], benign: Sequence[str]) -> torch.Tensor:
    def mean(prompts: Sequence[str]) -> torch.Tensor:
        return torch.stack([states(tiny, ids_of(tiny, prompt))[1:, -1] for prompt in prompts]).mean(dim=0)

    difference = mean(harmful) - mean(benign)
    return difference / difference.norm(dim=-1, keepdim=True)


def scan_transition(tiny: Any, prompt: str) -> torch.Tensor:
    found = states(tiny, ids_of(tiny, prompt, behind="Sure"))[1:]
    return found[:, end_of_turn(tiny, ids_of(tiny, prompt), prompt)] - found[:, -1]


def scan_cosines(tiny: Any, prompts: Sequence[str], harmful: Sequence[str], first: int) -> list[float]:
    reference = torch.stack([scan_transition(tiny, text) for text in harmful]).mean(dim=0)

    def cosine(prompt: str) -> float:
        own = scan_transition(tiny, prompt)
        cosines = [torch.nn.functional.cosine_similarity(own[i], reference[i], dim=0) for i in range(first, len(own))]
        return float(torch.stack(cosines).mean())

    return [cosine(prompt) for prompt in prompts]


@contextmanager
def wrapped(modules: Sequence[Layer], change: Callable[[int, torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace the forward of modules by one whose first output is changed."""

    def changed(number: int, forward: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            out = forward(*args, **kwargs)
            return (change(number, out[0]), *out[1:]) if isinstance(out, tuple) else change(number, out)

        return run

    with ExitStack() as stack:
        for number, module in enumerate(modules):
            module.forward = changed(number, module.forward)
            stack.callback(module.__dict__.pop, "forward")
        yield


def scan(
    tiny: Any, layers: Sequence[Layer], prompt: str, tokens: int, vectors: torch.Tensor, steered: range, length: float
) -> str:
    ids = ids_of(tiny, prompt)
    start = end_of_turn(tiny, ids, prompt)

    def add(number: int, hidden: torch.Tensor) -> torch.Tensor:
        behind = (torch.arange(hidden.shape[1]) >= start)[None, :, None]
        return hidden + behind * length * vectors[number] if number in steered else hidden

    with wrapped(layers, add):
        return greedy(tiny, lambda written: last_logits(tiny, ids + written), tokens)


@contextmanager
def without(layers: Sequence[Layer], parts: Sequence[Layer], direction: torch.Tensor) -> Iterator[None]:
    """Ablate a direction from the input of each layer and the output of each attention and MLP."""

    def ablate(number: int, hidden: torch.Tensor) -> torch.Tensor:
        return hidden - (hidden @ direction)[..., None] * direction

    handles = [
        layer.register_forward_pre_hook(lambda module, args: (ablate(0, args[0]), *args[1:])) for layer in layers
    ]
    try:
        with wrapped(parts, ablate):
            yield
    finally:
        for handle in handles:
            handle.remove()


def refusal_score(tiny: Any, prompt: str, refusal: Sequence[int]) -> float:
    share = last_logits(tiny, ids_of(tiny, prompt)).double().softmax(dim=-1)[list(refusal)].sum()
    return float(torch.log(share + 1e-8) - torch.log(1 - share + 1e-8))


def divergence(tiny: Any, prompts: Sequence[str], before: Sequence[torch.Tensor]) -> float:
    total = 0.0
    for prompt, p in zip(prompts, before, strict=True):
        q = last_logits(tiny, ids_of(tiny, prompt)).double().softmax(dim=-1)
        total += float((p * (torch.log(p + 1e-6) - torch.log(q + 1e-6))).sum())
    return total / len(prompts)


def surgical_candidates(
    tiny: Any, harmful: Sequence[str], pseudo: Sequence[str], benign: Sequence[str], positions: int, ratio: float
) -> torch.Tensor:
    """``(positions, layers, d)``."""

    def mean(prompts: Sequence[str]) -> torch.Tensor:
        found = [states(tiny, ids_of(tiny, prompt))[:-1, -positions:].double() for prompt in prompts]
        return torch.stack(found).mean(dim=0).transpose(0, 1)

    r, w = mean(harmful) - mean(benign), mean(pseudo) - mean(benign)
    out = torch.zeros_like(w)
    for position in range(w.shape[0]):
        for layer in range(w.shape[1]):
            one, two = w[position, layer], r[position, layer]
            left = one - ratio * (one @ two) / (two @ two + 1e-8) * two
            out[position, layer] = left / max(float(left.norm()), 1e-8)
    return out
