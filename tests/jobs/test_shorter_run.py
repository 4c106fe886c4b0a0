"""A long run names settings for a shorter one: those that are not set already, and that this run has."""

import pytest

from prosafeprune.jobs.outlook import LONG_RUN, shorter_run
from prosafeprune.requests.recipe import make_recipe


@pytest.mark.parametrize(
    ("settings", "is_searched", "named"),
    [
        ({}, True, "--samples 160 --confirmations 2 --max-new-tokens 48 --test-samples 100. --budget"),
        ({"layers": 1}, False, "--samples 160 --max-new-tokens 48 --test-samples 100."),
        ({"samples": 100, "max_new_tokens": 48, "test_samples": 150}, True, ": --confirmations 2 --test-samples 100."),
    ],
)
def test_what_would_be_shorter(settings: dict[str, int], is_searched: bool, named: str) -> None:
    recipe = make_recipe(model="m", **settings)
    assert named in (shorter_run(recipe, LONG_RUN, is_searched=is_searched) or "")
    assert shorter_run(recipe, LONG_RUN - 1, is_searched=is_searched) is None


def test_nothing_is_named_where_all_is_set_or_it_is_a_draft() -> None:
    short = make_recipe(model="m", layers=1, samples=160, max_new_tokens=48, test_samples=100)
    assert shorter_run(short, LONG_RUN, is_searched=False) is None
    assert shorter_run(make_recipe(model="m", draft=True), LONG_RUN, is_searched=True) is None


def test_only_options_that_the_command_has_and_uses_are_named() -> None:
    hint = shorter_run(make_recipe(model="m"), LONG_RUN, is_searched=True, search_only=True)
    assert hint is not None and "--max-new-tokens 48." in hint and "test-samples" not in hint
    paper = shorter_run(make_recipe(model="m", strategy="paper"), LONG_RUN, is_searched=True)
    assert paper is not None and "confirmations" not in paper
