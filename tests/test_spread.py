"""A model that is spread over two GPUs does what it does on one, to the bit. The GPUs are pretended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from conftest import make_model, make_tokenizer
from pretend_gpus import PretendTensor, pretend_gpus
from test_activations import PROMPTS, collect, outputs
from test_baselines import ENDS, material, texts
from test_divergence import change
from test_editing import random_edits
from test_resume import resumed
from test_scoring import make_scorer

from prosafeprune.analysis.last_states import collect_last_states, read_through_head
from prosafeprune.baselines.method import Method
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.self_cd import SelfCd
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.errors import InputError
from prosafeprune.evaluation.divergence import compare_with_source, read_source
from prosafeprune.generation.backend import Decoding, answer_all
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.method.pooling import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.search.editing import apply_edits

Make = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")
LARGE = 10**9


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two GPUs with room for any tiny model."""
    with pretend_gpus(monkeypatch, [LARGE, LARGE]):
        yield


def on_gpus(architecture: str, second: torch.device) -> LoadedModel:
    """Return a tiny model with all but its embeddings and first layer on the ``second`` device."""
    model = make_model(architecture)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    parts = {"model.embed_tokens": FIRST, "model.rotary_emb": FIRST, "model.layers.0": FIRST, "model.layers.1": second}
    parts |= {"model.layers.2": second, "model.norm": second, "lm_head": FIRST if tied else second}
    model = dispatch_model(model.requires_grad_(False), parts, main_device=FIRST, force_hooks=True)
    return LoadedModel("tiny", Path(), model, make_tokenizer(), FIRST, torch.float32, torch.float32, [1, *ENDS])


def collected(loaded: LoadedModel) -> Any:
    inputs = collect(loaded.model, encode_prompts(loaded.tokenizer, PROMPTS), Pooling.TAIL)
    return inputs.by_module, outputs(loaded.model, inputs)


def answered(loaded: LoadedModel) -> Any:
    generator = LocalGenerator(loaded, 3)
    return [
        [answer.text for answer in answer_all(generator, PROMPTS, Decoding(max_new_tokens=8, temperature=temperature))]
        for temperature in (0.0, 1.0)
    ]


def read_resumed(loaded: LoadedModel) -> Any:
    passes = resumed(loaded, [1, 2], 3)
    assert passes.starts == (0, 1, 2)
    edits = random_edits_here(loaded, [1, 2])
    with apply_edits(edits):
        readings = [dict(passes.read(1, logits=True)), dict(passes.read(2)), dict(passes.read(1, 1))]
    return [[(one[row].hidden, one[row].logits) for row in sorted(one)] for one in readings]


def diverged(loaded: LoadedModel) -> Any:
    source = read_source(loaded, PROMPTS, BatchSize(3, FIRST), tokens=4)
    with apply_edits(random_edits_here(loaded, [0, 2])):
        return source.answers, compare_with_source(source, loaded, BatchSize(3, FIRST)).model_dump()


def edited_and_back(loaded: LoadedModel) -> Any:
    before = {name: value.cpu().clone() for name, value in loaded.model.state_dict().items()}
    with apply_edits(random_edits_here(loaded, [0, 1])):
        edited = {name: value.cpu().clone() for name, value in loaded.model.state_dict().items()}
    after = {name: value.cpu() for name, value in loaded.model.state_dict().items()}
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(not torch.equal(edited[name], before[name]) for name in before)
    return edited


def scored(loaded: LoadedModel) -> Any:
    scorer = make_scorer(loaded)
    return scorer.score(random_edits_here(loaded, [1])), scorer.score(random_edits_here(loaded, [2]))


def seen_through_head(loaded: LoadedModel) -> Any:
    anatomy, size = find_anatomy(loaded.model), BatchSize(3, FIRST)
    last = collect_last_states(loaded, anatomy, encode_prompts(loaded.tokenizer, PROMPTS), size)
    return last.states, [dict(read_through_head(loaded, anatomy, last, layer, size)) for layer in range(3)]


def answered_by(method: Method) -> Callable[[LoadedModel], Any]:
    def answered(loaded: LoadedModel) -> Any:
        learned = method.fit(material(loaded))
        return learned.tensors, texts(loaded, method, learned, 3)

    return answered


def random_edits_here(loaded: LoadedModel, layers: list[int]) -> Any:
    return random_edits(loaded.model, layers)


WORK: dict[str, Callable[[LoadedModel], Any]] = {
    "activations": collected,
    "answers": answered,
    "resumed passes": read_resumed,
    "divergence": diverged,
    "edits": edited_and_back,
    "search": scored,
    "lens": seen_through_head,
    "scan": answered_by(Scan(first_layer=0, end_layer=3)),
    "self-cd": answered_by(SelfCd()),
    "surgical": answered_by(Surgical(divergence=10.0)),
}


def plain(value: Any) -> Any:
    """Return the numbers of tensors wherever they lie, so that ``==`` compares them."""
    if isinstance(value, torch.Tensor):
        return value.cpu().tolist()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("architecture", ["llama", "phi3", "gemma2", "mixtral"])
@pytest.mark.parametrize("work", WORK)
def test_two_gpus_do_what_one_does(architecture: str, work: str) -> None:
    spread = on_gpus(architecture, SECOND)
    assert {parameter.device for parameter in spread.model.parameters()} == {FIRST, SECOND}
    assert plain(WORK[work](spread)) == plain(WORK[work](on_gpus(architecture, FIRST)))


@pytest.mark.usefixtures("gpus")
def test_pretended_gpus_do_not_mix() -> None:
    one, two = torch.ones(2, 2, device=FIRST), torch.ones(2, 2, device=SECOND)
    assert isinstance(one, PretendTensor)
    assert (one + two.to(FIRST)).tolist() == [[2, 2], [2, 2]]
    for mix in (
        lambda: one + two,
        lambda: one @ torch.ones(2, 2),
        lambda: one[two.long()],
        lambda: torch.cat([one, two]),
    ):
        with pytest.raises(RuntimeError, match="on the same device|to be on"):
            mix()
