"""A GGUF file as it was read, compared with llama.cpp's reading of the same file.

llama.cpp is asked before transformers reads the weights, so that memory never holds two copies of them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from prosafeprune.errors import InputError
from prosafeprune.files.versions import installed_version
from prosafeprune.model import llama_cpp
from prosafeprune.model.gguf_file import gguf_parts, open_gguf
from prosafeprune.model.llama_cpp import Predictions
from prosafeprune.model.running import told_if_it_cannot_run
from prosafeprune.progress import Reporter

TEXT = (
    "The harbour was quiet before sunrise. A fisherman checked the weather report, poured coffee into a dented flask "
    "and waited for the tide, which would not turn for another hour. His daughter had asked him to bring back\n\n"
    "def moving_average(values: list[float], width: int) -> list[float]:\n    total = sum(values[:width])\n    found = "
    "[total / width]\n    for i in range(width, len(values)):\n        total += values[i] - values[i - width]\n\n"
    "In 1969, 3 astronauts travelled 384,400 km to the Moon; 2 of them walked on it for 2 h 31 min. The question is: "
    "how fast did they travel on average, if the journey took 76 hours? Let's see: 384,400 / 76 =\n\n"
    "Où est la bibliothèque ? Sie liegt hinter dem Bahnhof, gleich neben der Bäckerei. ¿Y a qué hora abre? "
    "Die Öffnungszeiten stehen an der Tür: montags bis freitags von 9 bis 18 Uhr, samstags nur bis"
)
"""Prose, code, numbers and other languages."""
UNQUANTISED = {"F64", "F32", "F16", "BF16"}
LIMIT, LIMIT_QUANTISED = 0.001, 0.02
"""Largest mean divergence of rounding: where weights are quantised, llama.cpp quantises activations, too. How far real
and tiny models are from it, read correctly and wrongly: docs/formats.md."""
COMPARISON_FILE = "prosafeprune_gguf.json"
"""Where the comparison is kept, next to the converted weights."""


class GgufComparison(BaseModel):
    """How the next-token probabilities of a GGUF file, as it was read, differ from llama.cpp's."""

    divergence: float
    """Mean KL divergence."""
    limit: float
    """The largest that was accepted."""
    positions: int
    version: str
    """Of the wheel of llama.cpp."""

    def describe(self) -> str:
        """Return the comparison in a few words."""
        return f"mean KL {self.divergence:.2g} over {self.positions} positions"


def read_comparison(folder: Path) -> GgufComparison | None:
    """Return the comparison of the GGUF that a checkpoint folder was made from; None if there was none."""
    file = folder / COMPARISON_FILE
    if not file.is_file():
        return None
    try:
        return GgufComparison.model_validate_json(file.read_bytes())
    except ValidationError:  # a folder from elsewhere, with a file of that name
        return None


def ask_llama_cpp(gguf: Path, reporter: Reporter) -> Predictions | None:
    """Return what llama.cpp makes of the text; None if it is not installed, or cannot read the file."""
    if not llama_cpp.is_installed():
        return None
    first = gguf_parts(gguf)[0]
    try:
        with reporter.stage("Reading the GGUF with llama.cpp", 1) as advance:
            found = llama_cpp.predictions_of(first, TEXT, torch.get_num_threads())
            advance(1)
    except llama_cpp.LlamaCppError as error:
        reporter.warning(
            f"{gguf.name}: llama.cpp cannot read it ({error}), so the model's predictions are not compared with "
            "llama.cpp's. Its metadata are compared with the config."
        )
        return None
    return found


def compare(model: Any, tokenizer: Any, expected: Predictions, gguf: Path) -> GgufComparison:
    """Return how much the predictions of a GGUF's model differ from llama.cpp's.

    Raises:
        InputError: they differ too much, or the tokenizer splits the text into other tokens.
    """
    _require_same_tokens(tokenizer(TEXT, add_special_tokens=False).input_ids, expected.tokens, gguf.name)
    with told_if_it_cannot_run(gguf.name, "Fetch it again."):
        values = divergences(model, expected)
    types = {tensor.tensor_type.name for part in gguf_parts(gguf) for tensor in open_gguf(part).tensors}
    limit = LIMIT if types <= UNQUANTISED else LIMIT_QUANTISED
    mean = sum(values) / len(values)
    if not mean <= limit:  # NaN, too
        raise InputError(
            f"{gguf.name}: as transformers reads it, it predicts other tokens than in llama.cpp (mean KL {mean:.2g} "
            f"over {len(values)} positions; rounding explains {limit}). Give the original checkpoint in safetensors."
        )
    version = installed_version(llama_cpp.PACKAGE) or "unknown"
    return GgufComparison(divergence=round(mean, 5), limit=limit, positions=len(values), version=version)


def _require_same_tokens(ours: Sequence[int], theirs: Sequence[int], name: str) -> None:
    if list(ours) == list(theirs):
        return
    same = next((i for i, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
    start = min(len(ours), len(theirs)) if same is None else same
    raise InputError(
        f"{name}: its tokenizer, as transformers reads it, splits text otherwise than in llama.cpp (tokens "
        f"{list(ours[start : start + 3])} for {list(theirs[start : start + 3])}). Give the original checkpoint in "
        "safetensors."
    )


def divergences(model: torch.nn.Module, expected: Predictions) -> list[float]:
    """Return the KL divergence of the model's next-token probabilities from llama.cpp's, at each position."""
    ids = torch.tensor([expected.prompt[: max(expected.following)]])
    with torch.inference_mode(), _in_float32(model):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return [divergence(found, logits[count - 1]) for count, found in expected.following.items()]


def divergence(expected: Mapping[int, float], logits: torch.Tensor) -> float:
    """Return the KL divergence of next-token probabilities from ``expected``, whose other tokens count as one.

    Args:
        expected: log-probabilities of some tokens.
        logits: of all tokens.
    """
    tokens = list(expected)
    theirs = torch.tensor([expected[token] for token in tokens], dtype=torch.float64)
    ours = logits.double().log_softmax(-1)
    rest = torch.ones(len(ours), dtype=torch.bool)
    rest[tokens] = False
    others = max(0.0, -math.expm1(float(theirs.logsumexp(-1))))
    found = float((theirs.exp() * (theirs - ours[tokens])).sum())
    if others == 0 or not bool(rest.any()):
        return found
    return found + others * (math.log(others) - float(ours[rest].logsumexp(-1)))


@contextmanager
def _in_float32(model: torch.nn.Module) -> Iterator[None]:
    """Compute in float32 inside the context, with the weights of one layer at a time in it."""
    with ExitStack() as stack:
        for unit in _units(model):
            stored: dict[torch.nn.Parameter, torch.Tensor] = {}

            def widen(unit: torch.nn.Module, *_: Any, stored: dict[Any, Any] = stored) -> None:
                for parameter in unit.parameters():
                    stored[parameter] = parameter.data
                    parameter.data = parameter.data.float()

            def restore(*_: Any, stored: dict[Any, Any] = stored) -> None:
                for parameter, data in stored.items():
                    parameter.data = data
                stored.clear()

            stack.callback(unit.register_forward_pre_hook(widen).remove)
            stack.callback(unit.register_forward_hook(restore, always_call=True).remove)
        yield


def _units(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yield the decoder layers, and the modules before and after them: inside, parents may read children's weights."""
    for child in model.children():
        if isinstance(child, torch.nn.ModuleList):
            yield from child
        elif any(isinstance(module, torch.nn.ModuleList) for module in child.modules()):
            yield from _units(child)
        else:
            yield child
