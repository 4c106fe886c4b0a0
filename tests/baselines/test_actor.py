"""ACTOR against a slow, literal implementation in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
import torch
from helpers.baseline_runs import fit_context, loaded
from helpers.training_runs import ARCHITECTURES, BATCH, RATE, assert_learned, matrices_of

from prosafeprune.baselines.actor import Actor, middle_layer
from prosafeprune.baselines.method import FitContext
from prosafeprune.baselines.registry import make_method
from prosafeprune.errors import InputError
from prosafeprune.prompts import PromptClass


@pytest.mark.long
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gemma4_shared"])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_actor_shifts_the_states_of_one_layer(architecture: str, alpha: float) -> None:
    tiny = loaded(architecture)
    layer = 1
    if architecture == "gemma4_shared":
        layer = 2  # the one that reads keys of an earlier one, and the last
        tiny.model.model.norm = torch.nn.Identity()
    given = fit_context(tiny).calibration
    prompts = [(slow.ids_of(tiny, text), one) for one in PromptClass for text in given[one].texts]
    directions = [torch.empty(0)]

    def find(factors: literal.Factors) -> None:
        with torch.no_grad():
            states = {
                one: torch.stack(
                    [literal.last_state(tiny, factors, ids, layer) for ids, kind in prompts if kind is one]
                )
                for one in PromptClass
            }
        directions[0] = states[PromptClass.HARMFUL].mean(dim=0) - states[PromptClass.BENIGN].mean(dim=0)

    def loss(factors: literal.Factors, batch: Sequence[Any]) -> torch.Tensor:
        terms = []
        for ids, kind in batch:
            state = literal.last_state(tiny, factors, ids, layer)
            part = alpha * literal.projected(state.detach(), directions[0])
            target = state.detach() + part if kind is PromptClass.HARMFUL else state.detach() - part
            terms.append(1 - state @ target / (state.norm() * target.norm()))
        return torch.stack(terms).mean()

    matrices = [one for one in matrices_of(tiny) if one.layer == layer]
    first = literal.first_factors(tiny, matrices, rank=2, seed=0)
    expected, losses = literal.adam(first, prompts, loss, epochs=3, at_once=BATCH, rate=RATE, seed=0, before_epoch=find)
    method = Actor(alpha=alpha, layer=layer, rank=2, examples_at_once=BATCH, learning_rate=RATE)
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["losses"] == pytest.approx(losses, rel=1e-2, abs=1e-5)
    assert_learned(fitted, expected, first)


def test_actor_takes_the_middle_layer_that_separates_best() -> None:
    tiny = loaded("llama")
    context = fit_context(tiny)
    prompts = Actor()._prompts(context)
    assert middle_layer(context, prompts) == 1  # of three layers, the middle third is one
    from sklearn.metrics import silhouette_score

    class Six:
        num_layers = 6

    states = torch.randn(12, 7, 1, 8, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FitContext, "anatomy", Six())
        patch.setattr("prosafeprune.baselines.method.hidden_states", lambda *_: states)
        labels = [one.prompt_class.value for one in prompts]
        scores = {layer: silhouette_score(states[:, layer + 1, 0].numpy(), labels) for layer in (2, 3)}
        assert middle_layer(context, prompts) == max(scores, key=lambda layer: scores[layer])


@pytest.mark.parametrize(
    ("given", "alphas"), [("0.5", (0.5,)), ("0.5,1,0.5", (0.5, 1.0)), (2, (2.0,)), ([0.1, 1], (0.1, 1.0))]
)
def test_alpha_is_one_or_several_numbers(given: Any, alphas: tuple[float, ...]) -> None:
    method = make_method("actor", {"alpha": given})
    assert method.describe()["alpha"] == list(alphas)


@pytest.mark.parametrize("given", ["", "0.5,", "-1", "0", "0.5,0", "nan", "inf", "a", []])
def test_alpha_that_is_no_number_above_zero_is_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=r"Method actor: alpha"):
        make_method("actor", {"alpha": given})


def test_a_layer_that_the_model_does_not_have_is_one_line() -> None:
    with pytest.raises(InputError, match=r"no layer 3\. The model's layers are 0 to 2"):
        Actor(layer=3).fit(fit_context(loaded("llama")))
