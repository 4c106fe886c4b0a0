"""What silhouettes, probes and overlaps say of a model whose submodules tell the classes apart in one layer alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.analysis_context import CPU, LETTERS, TEXTS, by_layer, context_of, letter_id
from helpers.tiny_models import make_model, make_tokenizer

from prosafeprune.activations.pooled_inputs import collect_pooled_inputs
from prosafeprune.analysis.layers_analysis import LayersAnalysis
from prosafeprune.analysis.probe_analysis import REFITTED, ProbeAnalysis
from prosafeprune.analysis.rank_analysis import observe_overlaps, overlap_result
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.progress import ignore


def pooled_inputs(model: Any) -> dict[str, torch.Tensor]:
    encoded = encode_prompts(make_tokenizer(), TEXTS)
    anatomy = find_anatomy(model)
    return collect_pooled_inputs(model, anatomy, encoded, [Pooling.SEQUENCE], range(3), BatchSize(8, CPU), ignore)[
        Pooling.SEQUENCE
    ].by_module


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


def planted_like(model: Any, pseudo_is_harmful: float) -> Any:
    """Return the model with another letter for the pseudo-harmful prompts, and nothing else changed."""
    other = make_model("llama")
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        place_pseudo_harmful(other, pseudo_is_harmful)
    return other


@pytest.fixture(scope="module")
def planted() -> Any:
    return planted_model(0.8)


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


def test_overlaps_of_a_model(planted: Any) -> None:
    context = context_of(planted)
    found = overlap_result(observe_overlaps(context), 4)
    one = [row for row in found.table("overlap").rows if row[0] == "harmful, benign" and row[1] == 1]
    assert one[0][2] > 0.9, "the first direction is the mean activation, which all classes share"
    assert {row[1] for row in found.table("overlap").rows} == {1, 2, 3, 4, 6}
