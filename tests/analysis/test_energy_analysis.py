"""The energy that an edit removes, its bound and the stable ranks, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.analysis_context import context_of
from helpers.tiny_models import make_model

from prosafeprune.analysis.energy_analysis import EnergyAnalysis
from prosafeprune.prompts import PromptClass


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_energy_against_dense_projectors(architecture: str) -> None:
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
    assert summary["largest removed energy as a share of its bound"] < 1
    mean = np.mean([row[0] for row in rows.values()])
    assert summary["bound at the mean stable rank, as in table 9"] == pytest.approx(4 / mean)


def test_layer_0_has_no_edit_of_the_last_token() -> None:
    """In models with rotary positions it enters that layer the same in every prompt."""
    context, analysis = context_of(make_model("llama"), pooling="last"), EnergyAnalysis()
    rows = analysis.conclude(context.request, analysis.observe(context, None), None).table("submodules").rows
    assert {row[0] for row in rows} == set(range(1, context.anatomy.num_layers))


def test_the_edit_has_the_harmful_share_that_is_asked_for() -> None:
    model = make_model("llama")

    def energy(**settings: object) -> list[float]:
        context, analysis = context_of(model, projection="contrastive", **settings), EnergyAnalysis()
        found = analysis.conclude(context.request, analysis.observe(context, None), None)
        return [row[4] for row in found.table("submodules").rows]

    assert energy(harmful_share=-0.5) == energy()
    assert energy(harmful_share=0.0) != energy()
