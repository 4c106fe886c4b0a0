"""Each analysis finds the structure that was planted, and says of known numbers what they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, make_model, make_tokenizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from prosafeprune.analysis.categories import CategoriesAnalysis, _ceiling, _cosines
from prosafeprune.analysis.context import Context, Pooled
from prosafeprune.analysis.energy import EnergyAnalysis
from prosafeprune.analysis.harm_probe import cross_validated_accuracy, fit_harm_probe
from prosafeprune.analysis.last_states import LastStates, collect_last_states, read_through_head
from prosafeprune.analysis.layers import LayersAnalysis
from prosafeprune.analysis.lens import LensAnalysis
from prosafeprune.analysis.overlaps import CHANCE, PAIRS, _overlaps, observe_overlaps, overlap_findings
from prosafeprune.analysis.probe import REFITTED, ProbeAnalysis
from prosafeprune.analysis.prompts import AnalysisPrompts, read_analysis_prompts
from prosafeprune.analysis.refusal_words import RefusalWords, find_refusal_words
from prosafeprune.analysis.request import AnalysisRequest
from prosafeprune.analysis.result import Findings, Table
from prosafeprune.errors import InputError
from prosafeprune.method.activations import PooledInputs, collect_pooled_inputs
from prosafeprune.method.pooling import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts
from prosafeprune.model.submodule import Submodule
from prosafeprune.progress import SilentReporter, ignore
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.settings import make_settings

CPU = torch.device("cpu")
LETTERS = {PromptClass.BENIGN: "Q", PromptClass.HARMFUL: "X", PromptClass.PSEUDO_HARMFUL: "Z"}
"""They stand in no other word."""
WORDS = {"calibration": ["bread", "maps", "bees", "soup", "chess", "rivers"], "test": ["paint", "verbs", "clouds"]}
TEXTS = [f"Tell me of {word} {letter}" for words in WORDS.values() for word in words for letter in LETTERS.values()]


def prompts_of(split: str) -> dict[PromptClass, PromptSet]:
    """The classes have the same prompts but for their last letter."""
    return {
        name: PromptSet(name, split, tuple(Prompt(f"Tell me of {word} {letter}") for word in WORDS[split]))
        for name, letter in LETTERS.items()
    }


def context_of(model: Any, **settings: Any) -> Context:
    request = make_settings(AnalysisRequest, {"model": "tiny", "rank": 4, "batch_size": 8, **settings})
    prompts = AnalysisPrompts(prompts_of("calibration"), prompts_of("test"), prompts_of("test"), [], None)
    loaded = SimpleNamespace(model=model, tokenizer=make_tokenizer(), device=CPU, name="tiny", run_dtype=torch.float32)
    local: Any = SimpleNamespace(loaded=loaded, made_by=dict, generator=None)
    return Context(request, prompts, local, Path("/nowhere"), SilentReporter())


def pooled_inputs(model: Any) -> dict[str, torch.Tensor]:
    encoded = encode_prompts(make_tokenizer(), TEXTS)
    anatomy = find_anatomy(model)
    return collect_pooled_inputs(
        model, anatomy, encoded, Pooling.SEQUENCE, range(3), BatchSize(8, CPU), ignore
    ).by_module


def letter_id(name: PromptClass) -> int:
    return int(make_tokenizer()(LETTERS[name], add_special_tokens=False)["input_ids"][0])


def place_pseudo_harmful(model: Any, share: float) -> None:
    """Put the letter of the pseudo-harmful prompts that far on the way from the benign to the harmful one."""
    table = model.model.embed_tokens.weight
    benign, harmful, pseudo = (letter_id(name) for name in LETTERS)
    table[pseudo] = table[benign] + share * (table[harmful] - table[benign])


def planted_model(pseudo_is_harmful: float) -> Any:
    """Return a model whose submodules see the prompt's class in layer 1 alone.

    In the other layers, what differs between the classes is projected out of every matrix.
    """
    model = make_model("llama")
    with torch.no_grad():
        place_pseudo_harmful(model, pseudo_is_harmful)
        for submodule in find_anatomy(model).submodules:
            read = pooled_inputs(model)[submodule.module_name].double().reshape(len(TEXTS) // 3, 3, -1)
            apart = read[:, 1:] - read[:, :1]
            weight = submodule.module.weight.double()
            if submodule.layer != 1:
                every = apart.reshape(-1, apart.shape[2])
                weight = weight - weight @ torch.linalg.pinv(every, rtol=1e-6) @ every
            else:
                within = torch.linalg.svd(read[:, 0] - read[:, 0].mean(dim=0), full_matrices=False)[2][:8]
                harm = apart[:, 0].mean(dim=0)
                harm = harm - within.T @ (within @ harm)
                harm = harm / harm.norm()
                weight = 0.02 * weight + 5 * torch.outer(weight @ harm, harm)
            submodule.module.weight.copy_(weight)
    return model


@pytest.fixture(scope="module")
def planted() -> Any:
    return planted_model(0.8)


def by_layer(findings: Findings, value: str, **wanted: Any) -> dict[int, float]:
    table: Table = findings.table("layers")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {
        int(row["layer"]): float(row[value])  # type: ignore[arg-type]
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    }


def test_silhouettes_find_the_layer_that_was_planted(planted: Any) -> None:
    context, analysis = context_of(planted), LayersAnalysis()
    seen = analysis.observe(context, None)
    found = analysis.conclude(context.request, seen, None)
    silhouettes = by_layer(found, "silhouette", model="before")
    assert found.table("peak").rows[0][1] == 1
    assert silhouettes[1] > 0.3 > 0 > max(silhouettes[0], silhouettes[2])
    assert len(found.table("map").rows) == 18
    assert int(seen["shown_layer"]) == 1 and str(seen["shown_kind"]) == "gate"
    # The pruned model is shown at the same layer, wherever its own peak lies.
    assert int(analysis.observe(context, {**seen, "shown_layer": np.array(2)})["shown_layer"]) == 2


def test_probes_find_the_layer_that_was_planted_and_the_way_back(planted: Any) -> None:
    context, analysis = context_of(planted), ProbeAnalysis()
    before = analysis.observe(context, None)
    for layer in range(3):
        accuracy = before["accuracy"][before["layers"] == layer]
        assert accuracy.min() == 1 if layer == 1 else accuracy.mean() < 0.7
    found = analysis.conclude(context.request, before, None)
    harmful = by_layer(found, "harmfulness", model="before", **{"class": "harmful"})
    benign = by_layer(found, "harmfulness", model="before", **{"class": "benign"})
    pseudo = by_layer(found, "harmfulness", model="before", **{"class": "pseudo-harmful"})
    assert harmful[1] > 0.9 > 0.1 > benign[1]
    assert harmful[1] > pseudo[1] > 0.5, "over-harmful encoding, planted"
    for layer in (0, 2):
        assert harmful[layer] == pytest.approx(benign[layer], abs=0.05)
    milder = context_of(planted_like(planted, 0.1))
    after = analysis.observe(milder, before)
    both = analysis.conclude(context.request, before, after)
    assert by_layer(both, "harmfulness", model="after", **{"class": "pseudo-harmful"})[1] < 0.3
    assert by_layer(both, "harmfulness", model="after", **{"class": "harmful"})[1] == pytest.approx(
        harmful[1], abs=0.01
    )
    assert {row[0] for row in both.table("summary").rows} == {"before", "after", REFITTED}


def planted_like(model: Any, pseudo_is_harmful: float) -> Any:
    """Return the model with another letter for the pseudo-harmful prompts, and nothing else changed."""
    other = make_model("llama")
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        place_pseudo_harmful(other, pseudo_is_harmful)
    return other


@contextmanager
def speaking_up(model: Any, layer: int, direction: torch.Tensor) -> Iterator[None]:
    """Add a direction to what leaves a layer, in prompts that end with the harmful letter."""
    letter = letter_id(PromptClass.HARMFUL)
    read: list[torch.Tensor] = []

    def before(module: Any, arguments: Any, options: Any) -> None:
        read[:] = [options["input_ids"]]

    def after(module: Any, arguments: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if states.shape[1] == read[0].shape[1]:
            states += (read[0] == letter).any(dim=1)[:, None, None] * direction
        return output

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.model.layers[layer].register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_the_lens_finds_the_layer_where_refusal_words_come_up() -> None:
    model = make_model("llama")
    with torch.no_grad():
        for layer in model.model.layers:  # so that what is planted stays as it is
            layer.self_attn.o_proj.weight.mul_(0.01)
            layer.mlp.down_proj.weight.mul_(0.01)
    letter = make_tokenizer()("I", add_special_tokens=False)["input_ids"][0]
    direction = model.lm_head.weight[letter].detach()
    with speaking_up(model, 1, 100 * direction / direction.norm()):
        context, analysis = context_of(model), LensAnalysis()
        found = analysis.conclude(context.request, analysis.observe(context, None), None)
    harmful = by_layer(found, "probability", **{"class": "harmful"})
    assert harmful[0] < 0.1 and harmful[1] > 0.5 and harmful[2] > 0.5
    assert max(by_layer(found, "probability", **{"class": "pseudo-harmful"}).values()) < 0.1
    counted = [row for row in found.table("tokens").rows if row[3] == "yes"]
    assert [row[1] for row in counted] == ["I"]


@pytest.mark.parametrize("architecture", list(CONFIGS))
def test_behind_the_last_layer_the_lens_is_the_models_own_output(architecture: str) -> None:
    model, tokenizer = make_model(architecture), make_tokenizer()
    loaded: Any = SimpleNamespace(model=model, tokenizer=tokenizer, device=CPU, name="tiny")
    anatomy, encoded = find_anatomy(model), encode_prompts(tokenizer, TEXTS[:5])
    last = collect_last_states(loaded, anatomy, encoded, BatchSize(2, CPU))
    assert last.states.shape == (3, 5, 48)
    with torch.inference_mode():
        whole = [model(input_ids=torch.tensor([one.ids]), output_hidden_states=True) for one in encoded]
    for layer in range(3):
        read = dict(read_through_head(loaded, anatomy, last, layer, BatchSize(2, CPU)))
        for row, one in enumerate(whole):
            if layer == 2:
                torch.testing.assert_close(read[row], one.logits[0, -1], rtol=1e-3, atol=1e-4)
            else:
                torch.testing.assert_close(
                    last.states[layer, row], one.hidden_states[layer + 1][0, -1], rtol=1e-3, atol=1e-4
                )
                assert not torch.allclose(read[row], one.logits[0, -1], atol=1e-3)


def test_the_lens_applies_norm_and_head_in_between() -> None:
    model = make_model("llama")
    loaded: Any = SimpleNamespace(model=model, tokenizer=make_tokenizer(), device=CPU, name="tiny")
    anatomy = find_anatomy(model)
    last = collect_last_states(loaded, anatomy, encode_prompts(loaded.tokenizer, TEXTS[:3]), BatchSize(4, CPU))
    for row, logits in read_through_head(loaded, anatomy, last, 0, BatchSize(4, CPU)):
        torch.testing.assert_close(logits, model.lm_head(model.model.norm(last.states[0, row])), rtol=1e-4, atol=1e-5)


def test_forms_of_refusal_words() -> None:
    known = {"I": [7], " I": [8], "sorry": [1, 2], " sorry": [3], "Sorry": [4], " Sorry": [5, 6]}

    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": known[text]}

    found = find_refusal_words(tokenizer, ["I", "sorry"])
    assert found.counted_ids == [7, 8, 4, 3]
    assert RefusalWords.from_arrays(found.as_arrays()) == found
    assert found.table().rows[2] == ("sorry", "sorry", "1 2", "no")


@pytest.mark.parametrize("wide", [True, False])
def test_the_probe_is_scikit_learns_logistic_regression(wide: bool) -> None:
    random = np.random.default_rng(0)
    harmful = np.arange(40) % 2 == 0
    activations = random.normal(size=(40, 90 if wide else 7)) + 1.5 * harmful[:, None] * random.normal(
        size=90 if wide else 7
    )
    activations[:, 3] = 2.5  # a direction that says nothing
    unseen = random.normal(size=(11, activations.shape[1]))
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)).fit(
        activations, harmful
    )
    found = fit_harm_probe(activations, harmful).probability(unseen)
    np.testing.assert_allclose(found, plain.predict_proba(unseen)[:, 1], atol=2e-3)


def test_accuracy_is_of_prompts_the_probe_has_not_seen() -> None:
    random = np.random.default_rng(1)
    noise, harmful = random.normal(size=(100, 300)), np.arange(100) % 2 == 0
    assert fit_accuracy(noise, harmful) == 1, "more dimensions than prompts: what was seen is always told rightly"
    assert 0.3 < cross_validated_accuracy(noise, harmful) < 0.7
    noise[:, 0] += 20 * harmful
    noise[:, 1:] *= 0.1
    assert cross_validated_accuracy(noise[:, :2], harmful) == 1


def fit_accuracy(activations: np.ndarray, harmful: np.ndarray) -> float:
    return float(((fit_harm_probe(activations, harmful).probability(activations) > 0.5) == harmful).mean())


def linear(d_in: int, weight: torch.Tensor, name: str = "w") -> Submodule:
    module = nn.Linear(d_in, weight.shape[0], bias=False)
    with torch.no_grad():
        module.weight.copy_(weight)
    return Submodule(0, "q", name, module)


def subspaces_at(angles: Sequence[float], width: int) -> Pooled:
    """Return activations whose harmful and pseudo-harmful subspaces have these principal angles, in this order."""
    count = len(angles)
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(3)))[0]
    harmful, other = turn[:, :count], turn[:, count : 2 * count]
    cosines, sines = torch.tensor(angles).cos(), torch.tensor(angles).sin()
    strengths = torch.arange(count, 0, -1.0)
    columns = [
        turn[:, 2 * count : 3 * count] * strengths,
        harmful * strengths,
        (harmful * cosines + other * sines) * strengths,
    ]
    rows = {name: range(place * count, (place + 1) * count) for place, name in enumerate(PromptClass)}
    return Pooled(PooledInputs({"w": torch.cat(columns, dim=1).T.contiguous()}, (3 * count,), 0), rows)


def test_overlaps_of_subspaces_at_known_angles() -> None:
    assert list(PromptClass) == [PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL]
    angles = [0.0, math.pi / 2, math.pi / 3, 0.3]
    found = dict(_overlaps(subspaces_at(angles, 12), linear(12, torch.eye(12)), [1, 2, 3, 4, 5]))
    expected = [np.mean(np.cos(angles[:rank])) for rank in (1, 2, 3, 4)]
    np.testing.assert_allclose(found["harmful, pseudo-harmful"][:4], expected, atol=1e-6)
    np.testing.assert_allclose(found["harmful, benign"][:4], 0, atol=1e-6)
    for name in (*PAIRS, CHANCE):
        assert math.isnan(found[name][4]), "no fifth direction"
    assert 0 < found[CHANCE][0] < 1


def test_the_rank_where_subspaces_have_least_in_common() -> None:
    seen = {f"overlap {name}": np.array([[1.0, 0.2, 0.6], [1.0, 0.4, np.nan]]) for name in (*PAIRS, CHANCE)}
    seen |= {"layers": np.array([0, 1]), "kinds": np.array(["q", "q"]), "ranks": np.array([1, 8, 16])}
    found = overlap_findings(seen, 16)
    assert found.table("least").rows[0] == ("harmful, pseudo-harmful", 8, pytest.approx(0.3), pytest.approx(0.6))
    assert found.table("overlap").rows[2][-1] == 1
    assert found.table("layers").rows[5] == (1, 16, None)


def test_overlaps_of_a_model(planted: Any) -> None:
    context = context_of(planted)
    found = overlap_findings(observe_overlaps(context), 4)
    one = [row for row in found.table("overlap").rows if row[0] == "harmful, benign" and row[1] == 1]
    assert one[0][2] > 0.9, "the first direction is the mean activation, which all classes share"
    assert {row[1] for row in found.table("overlap").rows} == {1, 2, 3, 4, 6}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_energy_is_what_was_computed_the_long_way(architecture: str) -> None:
    context, analysis = context_of(make_model(architecture)), EnergyAnalysis()
    found = analysis.conclude(context.request, analysis.observe(context, None), None)
    pooled = context.pooled("calibration")
    rows = {(row[0], row[1]): row[2:] for row in found.table("submodules").rows}
    assert len(rows) == len(context.anatomy.submodules)
    for submodule in context.anatomy.submodules:
        weight = submodule.take(submodule.module.weight.detach()).double().numpy()
        projectors = {}
        for name in PromptClass:
            left = np.linalg.svd(pooled.activations(submodule, name).T)[0][:, :4]
            projectors[name] = left @ left.T
        operator = projectors[PromptClass.HARMFUL] @ projectors[PromptClass.PSEUDO_HARMFUL]
        operator -= projectors[PromptClass.BENIGN] @ operator
        total, spectral = np.linalg.norm(weight) ** 2, np.linalg.norm(weight, 2) ** 2
        stable_rank, bound, energy, overlap = rows[submodule.layer, submodule.kind]
        assert stable_rank == pytest.approx(total / spectral, rel=1e-4)
        assert bound == pytest.approx(4 * spectral / total, rel=1e-4)
        assert energy == pytest.approx(np.linalg.norm(operator @ weight) ** 2 / total, rel=2e-2, abs=1e-6)
        assert overlap == pytest.approx(
            np.linalg.norm(operator @ projectors[PromptClass.HARMFUL]) ** 2 / 4, rel=2e-2, abs=1e-6
        )
        assert energy < bound
    summary = dict(found.table("summary").rows)
    assert summary["largest realised energy as a share of its bound"] < 1
    mean = np.mean([row[0] for row in rows.values()])
    assert summary["bound of the mean stable rank, as in table 9"] == pytest.approx(4 / mean)


def test_the_model_is_left_as_it_was() -> None:
    model = make_model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    context = context_of(model)
    for analysis in (ProbeAnalysis(), LayersAnalysis(), LensAnalysis(), EnergyAnalysis()):
        analysis.observe(context, None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_cosines_of_directions_at_right_angles() -> None:
    points = np.repeat(7 * np.eye(3, 5), 4, axis=0) + 1
    found = _cosines(points, np.ones(5), [np.arange(4 * place, 4 * place + 4) for place in range(3)])
    np.testing.assert_allclose(found["mean"], 1 / math.sqrt(3))
    np.testing.assert_allclose(found["others"], 0, atol=1e-12)
    np.testing.assert_allclose(found["pairs"], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found["halves"], 1)


def test_the_ceiling_is_what_one_noisy_direction_reaches() -> None:
    random, members = np.random.default_rng(0), [np.arange(20 * place, 20 * place + 20) for place in range(10)]
    one, apart = np.zeros(500), np.zeros((10, 500))
    one[0] = apart[:, 0] = 1
    for place in range(10):
        apart[place, place + 1] = 2
    for directions, is_one in ((np.tile(one, (10, 1)), True), (apart, False)):
        points = np.repeat(directions, 20, axis=0) + 0.2 * random.normal(size=(200, 500))
        found = _cosines(points, np.zeros(500), members)
        ceiling = _ceiling(found["halves"])
        assert 0.6 < ceiling.mean() < 0.99
        if is_one:
            np.testing.assert_allclose(found["others"].mean(), ceiling.mean(), atol=0.05)
        else:
            assert (found["others"] < ceiling - 0.3).all()


def test_categories_of_a_model_are_shown_where_the_classes_separate() -> None:
    model, random = make_model("llama"), np.random.default_rng(0)
    context = context_of(model)
    named = [Prompt(f"Tell {place}", "one" if place % 2 else "two") for place in range(8)]
    pseudo = PromptSet(PromptClass.PSEUDO_HARMFUL, "own", tuple(named))
    context.prompts.calibration[PromptClass.PSEUDO_HARMFUL] = pseudo  # type: ignore[index]
    for name, count in ((PromptClass.BENIGN, 6), (PromptClass.HARMFUL, 6), (PromptClass.PSEUDO_HARMFUL, 8)):
        states = torch.from_numpy(random.normal(size=(3, count, 48)))
        if name is not PromptClass.BENIGN:
            states[2, :, 0 if name is PromptClass.HARMFUL else 1] += 30
        context._states[f"calibration {name}"] = LastStates(states, {})
    analysis = CategoriesAnalysis()
    analysis.check(context.request, context.prompts)
    found = analysis.conclude(context.request, analysis.observe(context, None), None)
    assert found.table("summary").title.endswith("layer 2")
    assert [row[0] for row in found.table("summary").rows] == ["one", "two"]
    assert min(row[2] for row in found.table("summary").rows) > 0.9  # type: ignore[type-var]


def test_general_prompts_come_from_a_task(tmp_path: Path) -> None:
    (tmp_path / "gsm8k_test.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    request = make_settings(AnalysisRequest, {"model": "m", "general": "gsm8k", "data_dir": tmp_path})
    prompts = read_analysis_prompts(request)
    assert prompts.general is not None
    assert "What is 1 + 1?" in prompts.general.texts[0]
    assert "general prompts" in prompts.hashes
    assert len(prompts.test[PromptClass.HARMFUL]) == 115


def test_calibration_and_test_prompts_must_differ(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(f"Tell me of {place}" for place in range(20)))
    request = make_settings(
        AnalysisRequest,
        {"model": "m", "pseudo_harmful": str(own), "benchmark": (f"phtest={own}",), "prompt_field": "prompt"},
    )
    with pytest.raises(InputError, match="stand in two sets that must share none"):
        read_analysis_prompts(request)
