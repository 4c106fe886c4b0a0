"""Options that contradict each other, or would be without effect, are one line: none is ignored in silence."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.fixture_types import Make, Run

from prosafeprune.errors import InputError
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.recipe import make_recipe, make_request


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": "0.5"}, "--strength: is for given layers"),
        ({"layers": "1", "budget": "4"}, "--budget: is for a search"),
        ({"layers": "1", "strategy": "paper"}, "--strategy: is for a search"),
        ({"layers": "1", "confirmations": "2"}, "--confirmations: is for a search"),
        ({"layers": "2,0", "strength": "0.9,0.1"}, "in ascending order"),
        ({"layers": [2, 0], "strength": [0.9, 0.1]}, "in ascending order"),
        ({"layers": "0,0,2", "strength": "0.9,0.1"}, "name each layer once"),
    ],
)
def test_a_setting_without_effect_is_one_line(settings: dict[str, Any], message: str) -> None:
    for make in (make_recipe, lambda **given: make_request(CompareRequest, None, given)):
        with pytest.raises(InputError, match=message):
            make(model="m", **settings)


def test_strengths_belong_to_the_layers_as_they_were_named() -> None:
    assert make_recipe(model="m", layers="0,2", strength="0.9,0.1").strength == (0.9, 0.1)
    assert make_recipe(model="m", layers="2,0", strength="0.9").layers == (0, 2)


def test_a_recipe_may_hold_settings_of_a_search_next_to_layers(tmp_path: Any) -> None:
    (tmp_path / "recipe.yaml").write_text("model: m\nbudget: 4\nstrength: 0.5\n")
    assert make_recipe(tmp_path / "recipe.yaml", layers="1").budget == "4"
    assert make_recipe(tmp_path / "recipe.yaml").layers is None


def test_a_comparison_has_one_plan() -> None:
    for settings in ({"layers": "1", "search": "s"}, {"layers": "1", "pruned": "p"}, {"search": "s", "pruned": "p"}):
        with pytest.raises(InputError, match="each name the plan"):
            make_request(CompareRequest, None, {"model": "m", **settings})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "1", "--search", "s"], "--search: --layers names the plan"),
        (["--layers", "1", "--serve-with", "vllm"], "--serve-with: is for --memory low"),
        (["--layers", "1", "--memory", "low"], "--unmeasured"),
        (["--layers", "1", "--memory", "low", "--unmeasured", "--serve-with", "vllm"], "Leave one of them out"),
        (["--layers", "1", "--memory", "low", "--unmeasured", "--ray", "auto"], "need the complete model in memory"),
        (["--layers", "1", "--json"], "--dry-run: prints tables"),
        (["--layers", "1", "--push", "a/b"], "--dry-run: prints tables"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(options: list[str], message: str, checkpoint: Make, run: Run) -> None:
    run.refused(message, "prune", checkpoint("llama"), "--dry-run", *options)


@pytest.mark.parametrize("name", ["accept_unsafe", "unmeasured"])
def test_a_recipe_file_alone_cannot_take_away_the_safety_floor(name: str, tmp_path: Any) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"model: m\nlayers: 1\nmemory: {'low' if name == 'unmeasured' else 'normal'}\n{name}: true\n")
    with pytest.raises(InputError, match=f"{name}: is not taken from a recipe file"):
        make_recipe(file)
    assert getattr(make_recipe(file, **{name: True}), name)
