"""Directions of categories: known cosines, the noise ceiling, and the categories of a model."""

from __future__ import annotations

import math

import numpy as np
import torch
from helpers.analysis_context import context_of
from helpers.tiny_models import make_model

from prosafeprune.analysis.categories_analysis import CategoriesAnalysis, direction_cosines, noise_ceiling
from prosafeprune.analysis.figure_drawing import draw
from prosafeprune.analysis.last_states import LastStates
from prosafeprune.prompts import Prompt, PromptClass, PromptSet


def test_cosines_of_directions_at_right_angles() -> None:
    points = np.repeat(7 * np.eye(3, 5), 4, axis=0) + 1
    found = direction_cosines(points, np.ones(5), [np.arange(4 * i, 4 * i + 4) for i in range(3)])
    np.testing.assert_allclose(found["mean"], 1 / math.sqrt(3))
    np.testing.assert_allclose(found["others"], 0, atol=1e-12)
    np.testing.assert_allclose(found["pairs"], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(found["halves"], 1)


def test_the_noise_ceiling_is_the_cosine_of_one_noisy_direction() -> None:
    random, members = np.random.default_rng(0), [np.arange(20 * i, 20 * i + 20) for i in range(10)]
    one, apart = np.zeros(500), np.zeros((10, 500))
    one[0] = apart[:, 0] = 1
    for i in range(10):
        apart[i, i + 1] = 2
    for directions, is_one in ((np.tile(one, (10, 1)), True), (apart, False)):
        points = np.repeat(directions, 20, axis=0) + 0.2 * random.normal(size=(200, 500))
        found = direction_cosines(points, np.zeros(500), members)
        expected = noise_ceiling(found["halves"], found["halves_of_others"])
        assert 0.6 < expected.mean() < 0.99
        if is_one:
            np.testing.assert_allclose(found["others"].mean(), expected.mean(), atol=0.02)
        else:
            assert (found["others"] < expected - 0.3).all()


def test_one_noisy_category_does_not_lower_the_ceilings_of_the_others() -> None:
    random, sizes = np.random.default_rng(0), [4, *[40] * 9]
    ends = np.cumsum(sizes)
    points = np.concatenate([np.zeros((4, 500)), 0.2 * random.normal(size=(360, 500))])
    points[:4, 1:3] = 5 * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])  # its halves point apart, its mean does not
    points[:, 0] += 1
    members = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    found = direction_cosines(points, np.zeros(500), members)
    assert found["halves"][0] < 0
    ceiling = noise_ceiling(found["halves"], found["halves_of_others"])
    np.testing.assert_allclose(found["others"][1:], ceiling[1:], atol=0.1)


def test_categories_of_a_model_are_shown_where_the_classes_separate() -> None:
    model, random = make_model("llama"), np.random.default_rng(0)
    context = context_of(model)
    named = [Prompt(f"Tell {i}", "one" if i % 2 else "two") for i in range(8)]
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
    assert min(row[3] for row in found.table("summary").rows) > 0.9  # type: ignore[type-var]
    assert [figure.name for figure in found.figures] == ["categories", "pairs", "layers"]
    assert all(draw(figure, found.table(figure.table))["svg"].count(b"<path") > 10 for figure in found.figures)
