"""Recipes: layers, YAML, and what is said of a bad setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prosafeprune.cli.demo import PLAN
from prosafeprune.errors import InputError
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.plan_options import parse_layers
from prosafeprune.requests.recipe import make_recipe


def test_thinking_is_on_or_off_as_yaml_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: org/name\nthinking: on\n")
    assert make_recipe(file).thinking == "on"
    assert make_recipe(file, thinking="off").thinking == "off"


@pytest.mark.parametrize(
    ("text", "layers"), [("14-17", (14, 15, 16, 17)), ("14,16", (14, 16)), ("3, 5-6", (3, 5, 6)), (7, (7,))]
)
def test_layers_are_read(text: str | int, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


def test_layers_may_be_a_list_of_any_of_these() -> None:
    assert make_recipe(model="m", layers=["14 - 15", 18, "20,22"]).layers == (14, 15, 18, 20, 22)
    assert make_recipe(model="m", layers=range(14, 17), strength="1,0.5,0.5").layers == (14, 15, 16)


def test_layers_are_sorted_and_told_once() -> None:
    assert make_recipe(model="m", layers="5,3-4,3").layers == (3, 4, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "1,2", "strength": "0.5,0.5,0.5"}, "3 strengths are given for 2 layers"),
        ({"budget": "soon"}, "give a number of trials"),
        ({"layers": "a-b"}, "'a-b' is not a list of layers"),
        ({"layers": "5-3"}, "'5-3' runs backwards"),
        ({"layers": (-1,)}, "is not a list of layers"),
        ({"layers": "1", "batch_size": True}, "batch_size: "),
        ({"layers": []}, "layers: "),
        ({"layers": "1", "strength": 2.5}, "strength: .* less than or equal to 2"),
        ({"layers": "1", "strength": 1.5}, "strength 1.5 is above 1, the largest that the orthogonal projection takes"),
        ({"layers": "1,2", "strength": "0.5,1.5"}, "strength 1.5 is above 1, the largest that the orthogonal"),
        ({"layers": "1", "rank": 0}, "rank: "),
        ({"layers": "1", "pooling": "mean"}, "pooling: "),
        ({"layers": "1", "batch_size": 0}, "batch_size: "),
        ({"layers": "1", "batch_size": "many"}, "batch_size"),
        ({"layers": "1", "harmful_share": -0.2}, "harmful_share is for the contrastive projection, and this is orthog"),
        ({"strategy": "paper", "harmful_share": -0.2}, "harmful_share is for the contrastive projection"),
        ({"projection": "oblique", "harmful_share": 0.0}, "and this is oblique"),
        ({"layers": "1", "colour": 3}, "there is no setting 'colour'"),
        ({"layers": "1", "strenght": 0.5}, "there is no setting 'strenght'; did you mean strength?"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_recipe(model="m", **settings)
    assert "\n" not in str(caught.value)


def test_a_search_and_a_contrastive_plan_take_a_harmful_share() -> None:
    assert make_recipe(model="m", harmful_share=-0.2).harmful_share == -0.2
    assert make_recipe(model="m", layers=1, projection="contrastive", harmful_share=-0.2).harmful_share == -0.2


def test_yaml_is_read_and_options_go_before_it(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: some/model\nlayers: 13-16\nstrength: 0.9\nbatch-size: 8\n")
    recipe = make_recipe(file, strength=0.5, rank=None)
    assert (recipe.model, recipe.layers, recipe.strength, recipe.batch_size) == (
        "some/model",
        (13, 14, 15, 16),
        0.5,
        8,
    )


def test_an_option_of_another_name_than_its_field_is_read(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: m\nfrom: old\n")
    assert make_recipe(file).earlier == Path("old")
    file.write_text("model: m\nfrom: old\nearlier: older\n")
    with pytest.raises(InputError, match="from and earlier are one setting"):
        make_recipe(file)


def test_numbers_are_decimal_whatever_yaml_makes_of_them(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: m\nlayers: [010, 11]\nseed: 010\nrank: 0x10\n")
    recipe = make_recipe(file)
    assert (recipe.layers, recipe.seed, recipe.rank) == ((10, 11), 10, 16)
    for line in ("budget: 1:30", "layers: 12:30", "strength: 0:30.5"):
        file.write_text(f"model: m\n{line}\n")
        with pytest.raises(InputError, match=line.split()[1]):
            make_recipe(file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strengths": "abc"}, "strengths: must be a valid number, unable to parse string as a number"),
        ({"ranks": "2,x"}, "ranks: must be a valid integer"),
        ({"ranks": []}, "ranks: must not be empty"),
        ({"system": ""}, "system: must not be empty"),
    ],
)
def test_a_list_whose_items_are_wrong_is_not_called_too_short(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate_settings(AnalyzeRequest, {"model": "m", **settings})


@pytest.mark.parametrize(("content", "message"), [("a: [", "cannot be read as YAML"), ("just text", "has no settings")])
def test_bad_yaml_is_one_clear_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        make_recipe(file)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such recipe file"):
        make_recipe(tmp_path / "missing.yaml")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda f: f.stem)
def test_shipped_recipes_are_valid(file: Path) -> None:
    recipe = make_recipe(file)
    assert recipe.rank == 16
    found_by_search = "coder" in file.stem  # the others are the paper's
    assert (recipe.pooling, recipe.projection) == (
        ("last", "contrastive") if found_by_search else ("sequence", "orthogonal")
    )


def test_the_demo_prunes_the_layers_of_the_recipe_for_its_model() -> None:
    recipe = make_recipe(Path(__file__).parents[2] / "recipes/qwen-2.5-coder-0.5b.yaml")
    of_the_demo = {**PLAN, "strength": 2.0, "harmful_share": -0.35}
    assert {name: getattr(recipe, name) for name in PLAN} == of_the_demo


def test_a_value_out_of_range_is_not_also_said_to_be_of_the_wrong_type() -> None:
    with pytest.raises(InputError) as refused:
        make_recipe(model="m", layers=1, strength="2.5")
    assert "less than or equal to 2" in str(refused.value)
    assert "tuple" not in str(refused.value)


def test_files_may_be_given_as_paths() -> None:
    """Of a file or folder only: a path in place of a system prompt would be taken for its text."""
    made = make_recipe(model="m", pseudo_harmful=Path("refused.csv"), test_harmful=Path("harmful.csv"))
    assert (made.pseudo_harmful, made.test_harmful) == (("refused.csv",), "harmful.csv")
    assert make_recipe(model="m", harmful=[Path("a.csv"), "advbench"]).harmful == ("a.csv", "advbench")
    with pytest.raises(InputError, match="system"):
        make_recipe(model="m", system=Path("policy.txt"))


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("60m", "1h"),
        ("60 minutes", "1h"),
        ("1.0h", "1h"),
        ("1.5h", "90m"),
        ("10 min", "10m"),
        ("0.5m", "0.5m"),
        ("1000000m", "1000000m"),
        ("0.0000001m", "0.0000001m"),
        (8, "8"),
        ("008", "8"),
    ],
)
def test_equal_budgets_are_recorded_alike(given: str | int, same: str) -> None:
    recipe = make_recipe(model="m", budget=given)
    assert recipe.budget == same
    assert make_recipe(model="m", budget=same) == recipe
