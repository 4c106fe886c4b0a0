"""Every part that runs on a GPU, in float32, against the same on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.baseline_runs import BENIGN, HARMFUL, PSEUDO, fit_context, texts
from helpers.plan_scoring import make_scorer, score
from helpers.random_edits import random_edits
from helpers.resumed_models import PROMPTS

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.activations.silhouettes import silhouettes
from prosafeprune.baselines.registry import METHODS
from prosafeprune.editing.edits import PruningEdit, apply_edits
from prosafeprune.editing.make_edits import make_edits
from prosafeprune.evaluation.divergence import divergence_from_base, record_base_answers
from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.judges.base_model_likelihood import mean_log_likelihoods
from prosafeprune.judges.verdict import Exchange
from prosafeprune.method.plan import Plan, Pooling, Projection
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel
from prosafeprune.progress import ignore
from prosafeprune.prompts import PromptClass

pytestmark = pytest.mark.gpu
ARCHITECTURES = ["llama", "qwen2", "gemma3", "gpt2", "mixtral"]
OnBoth = Callable[[str], tuple[LoadedModel, LoadedModel]]
CLASSES = {PromptClass.BENIGN: BENIGN, PromptClass.HARMFUL: HARMFUL, PromptClass.PSEUDO_HARMFUL: PSEUDO}
ROWS = {one: range(4 * number, 4 * number + 4) for number, one in enumerate(CLASSES)}
CLOSE = {"atol": 2e-4, "rtol": 1e-3}
SETTINGS: dict[str, dict[str, Any]] = {
    "abliteration": {"divergence": 100},
    "abliteration-norms": {"divergence": 100},
    "actor": {},
    "null-space": {},
    "safe-patching": {},
    "scan": {},
    "self-cd": {},
    "surgical": {"divergence": 100},
}
"""Methods that can be fitted to a random model, with limits that such a model keeps."""
ANSWER = "This answer has more than enough tokens to be scored."


def collected(loaded: LoadedModel) -> dict[Pooling, PooledInputs]:
    anatomy = find_anatomy(loaded.model)
    encoded = encode_prompts(loaded.tokenizer, [text for one in CLASSES.values() for text in one])
    size = BatchSize(5, loaded.device)
    layers = range(anatomy.num_layers)
    return collect_pooled_inputs(loaded.model, anatomy, encoded, list(Pooling), layers, size, ignore)


def edits_of(loaded: LoadedModel, projection: Projection) -> list[PruningEdit]:
    plan = Plan(layers=(1, 2), rank=2, strength=0.8, projection=projection)
    inputs = collected(loaded)[plan.pooling]
    with torch.inference_mode():
        return make_edits(find_anatomy(loaded.model), plan, inputs, ROWS, ignore)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pooled_activations(architecture: str, on_both: OnBoth) -> None:
    cpu, gpu = on_both(architecture)
    expected, found = collected(cpu), collected(gpu)
    for pooling in Pooling:
        assert found[pooling].by_module.keys() == expected[pooling].by_module.keys()
        for name, matrix in expected[pooling].by_module.items():
            torch.testing.assert_close(
                found[pooling].by_module[name], matrix, **CLOSE, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert found[pooling].routed.prompts == expected[pooling].routed.prompts
        for name in expected[pooling].routed.prompts:
            torch.testing.assert_close(found[pooling].routed.of(name), expected[pooling].routed.of(name), **CLOSE)
    rows = {one: list(of_class) for one, of_class in ROWS.items()}
    scores = [
        silhouettes(one[Pooling.TAIL], find_anatomy(loaded.model).without_experts().submodules, rows)
        for one, loaded in ((expected, cpu), (found, gpu))
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)


@pytest.mark.parametrize("projection", [Projection.ORTHOGONAL, Projection.CONTRASTIVE])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_edits(architecture: str, projection: Projection, on_both: OnBoth) -> None:
    cpu, gpu = on_both(architecture)
    expected, found = edits_of(cpu, projection), edits_of(gpu, projection)
    assert [one.submodule.name for one in found] == [one.submodule.name for one in expected]
    assert len(expected) >= 8
    for one, other in zip(expected, found, strict=True):
        assert other.measures.energy == pytest.approx(one.measures.energy, rel=1e-2, abs=1e-5)
        assert other.measures.stable_rank == pytest.approx(one.measures.stable_rank, rel=1e-3)
        weight = one.submodule.weight()
        # Signs and order of singular vectors may differ; what the operator does to the weight may not.
        torch.testing.assert_close(other.edited(other.submodule.weight()).cpu(), one.edited(weight), **CLOSE)
    before = copy.deepcopy(gpu.model.state_dict())
    with apply_edits(found):
        edited = {name: parameter.cpu().clone() for name, parameter in gpu.model.state_dict().items()}
    with apply_edits(expected):
        for name, parameter in cpu.model.state_dict().items():
            torch.testing.assert_close(edited[name], parameter, **CLOSE)
    after = gpu.model.state_dict()
    assert all(torch.equal(after[name], parameter) for name, parameter in before.items())
    assert any(not torch.equal(edited[name], parameter.cpu()) for name, parameter in before.items())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers(architecture: str, size: int, on_both: OnBoth) -> None:
    cpu, gpu = on_both(architecture)

    def answers(loaded: LoadedModel) -> list[tuple[str, bool, int | None]]:
        found = answer_all(LocalGenerator(loaded, size), PROMPTS, Decoding(max_new_tokens=12))
        return [(one.text, one.finished, one.tokens) for one in found]

    assert answers(gpu) == answers(cpu)
    with apply_edits(random_edits(gpu.model, [1])), apply_edits(random_edits(cpu.model, [1])):
        assert answers(gpu) == answers(cpu)


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_scores_of_plans(architecture: str, on_both: OnBoth) -> None:
    scores = []
    for loaded in on_both(architecture):
        scorer = make_scorer(loaded)
        scores.append([score(scorer, edits) for edits in ([], random_edits(loaded.model, [1, 2]))])
    for expected, found in zip(*scores, strict=True):
        assert found.compliance_rate == pytest.approx(expected.compliance_rate, abs=0.1)
        assert found.safety_score == pytest.approx(expected.safety_score, abs=0.1)
        assert found.divergence == pytest.approx(expected.divergence, rel=1e-2, abs=1e-6)


def test_divergence_and_likelihoods(on_both: OnBoth) -> None:
    found = []
    for loaded in on_both("qwen2"):
        size = BatchSize(3, loaded.device)
        base = record_base_answers(loaded, PROMPTS, size)
        with apply_edits(random_edits(loaded.model, [1])):
            divergence = divergence_from_base(base, loaded, size)
        scores = mean_log_likelihoods(loaded, [Exchange(prompt, ANSWER) for prompt in PROMPTS])
        assert None not in scores
        numbers = [number for one in scores if one is not None for number in (one.answer, one.prompt)]
        found.append([base.answers, [divergence.mean, *divergence.per_position, *numbers]])
    assert found[1][0] == found[0][0]
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-2, abs=1e-4)


def test_sampled_answers(on_both: OnBoth) -> None:
    sampled = Decoding(max_new_tokens=8, temperature=0.7, seed=3)
    cpu, gpu = (
        [one.text for one in answer_all(LocalGenerator(loaded, 3), PROMPTS, sampled)] for loaded in on_both("llama")
    )
    assert gpu == cpu


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_baselines(name: str, on_both: OnBoth) -> None:
    found = []
    for loaded in on_both("llama"):
        method = METHODS[name](**SETTINGS[name])
        found.append(texts(loaded, method, method.fit(fit_context(loaded)), 2))
    assert found[1] == found[0]
