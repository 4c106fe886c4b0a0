"""The commands on pages: run by the command line, they make the same request."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import Reader, measurement, search_record
from helpers.prune_records import PLAN, pruned

from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import BEYOND, OFF_POLICY, SetChoice, choose_sets
from prosafeprune.method.plan import Pooling, Projection
from prosafeprune.report.page import render_page
from prosafeprune.report.reproduce_command import command, making, with_prompt
from prosafeprune.report.search_page import search_page
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.recipe import make_recipe, make_request, recipe_of
from prosafeprune.requests.search import SearchRequest


def command_of(html: str) -> list[str]:
    text = Reader(html).text
    found = re.search(r"prosafeprune (?:prune|search|evaluate) .*?(?<!\\)\n", text + "\n", re.S)
    assert found is not None
    return shlex.split(found[0].replace("\\\n", ""))[1:]


def test_the_printed_command_asks_for_the_same_plan(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However it was found: the command is given to the command line, which must make the same settings of it."""
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.prune.run", lambda recipe, *_, **__: asked.append(recipe))
    settings = {"samples": 32, "benchmark": ("a b=x.csv", "xstest-safe"), "max_safety_drop": 2.5, "seed": 3}
    settings |= {"harmful": "it's mine.txt", "pseudo_harmful": ("or-bench-80k", "phtest=b c.csv", "a,b.txt")}
    settings |= {"trust_remote_code": True, "budget": "10m", "data_dir": Path("data")}
    page = pruned(measurement(20, 95), measurement(50, 94), **settings)
    code, _, err = run(*command_of(render_page(page)))
    assert code == 0, err
    plan = {"layers": PLAN.layers, "rank": 8, "strength": PLAN.strength, "pooling": PLAN.pooling}
    assert asked == [make_recipe(**{"model": "org/tiny", **settings, **plan, "budget": "10"})]


def test_the_printed_command_of_an_evaluation_asks_for_the_same(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.evaluate.run", lambda request, *_, **__: asked.append(request))
    requests = [
        EvaluateRequest(model="a b", ability=("mmlu", "gsm8k"), temperature=0.7, repeats=3, batch_size=4),
        EvaluateRequest(model="name", endpoint="http://localhost:8000/v1,http://other:1/v1"),
        EvaluateRequest(model="", endpoint="http://localhost:8000/v1", suite="paper"),
        EvaluateRequest(model="", endpoint="http://localhost:8000/v1", request=('a={"b": "c/d"}', "e=1")),
    ]
    for request in requests:
        assert run(*shlex.split(command("evaluate", request, "OUTPUT").text.replace("\\\n", ""))[1:])[0] == 0
    assert asked == requests


def test_no_folder_of_the_machine_is_on_a_page() -> None:
    here = "/home/me/secret"
    settings = {"model": f"{here}/tiny-7b", "harmful": f"{here}/own.csv", "benchmark": (f"mine={here}/mine.csv",)}
    settings["data_dir"] = Path(here)
    html = render_page(pruned(measurement(20, 95), measurement(50, 95), **settings))
    assert "/home/me" not in html
    words = command_of(html)
    assert words[1] == "tiny-7b"
    assert {"own.csv", "mine=mine.csv"} <= set(words)


def test_the_printed_command_has_no_password() -> None:
    request = EvaluateRequest(
        model="m",
        endpoint="https://me:secret@host/v1?key=secret",
        judge="llm",
        judge_endpoint="https://me:secret@judge/v1",
    )
    text = command("evaluate", request, "OUTPUT").text
    assert "secret" not in text
    assert "https://host/v1" in text
    assert "https://judge/v1" in text


@pytest.mark.parametrize("system", ["/no_think", "Answer as KEY=/path", "Be brief.\nBe kind."])
def test_a_system_prompt_that_looks_like_a_path_is_printed_in_full(
    system: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.evaluate.run", lambda request, *_, **__: asked.append(request))
    request = EvaluateRequest(model="m", system=system)
    assert run(*shlex.split(command("evaluate", request, "OUTPUT").text.replace("\\\n", ""))[1:])[0] == 0
    assert asked == [request]


def printed(recipe: Any) -> list[str]:
    """Return the words of the command that repeats a search, the last one on its page."""
    last = search_page(search_record(), recipe, "tiny").sections[-1].blocks[0]
    return shlex.split(last.text.replace("\\\n", ""))[1:]


def test_a_search_with_the_operator_of_the_paper_is_printed_with_it(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its projection and pooling are the request's defaults, and not those of a search."""
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.search.run", lambda request, *_, **__: asked.append(request))
    given = {"model": "m", "projection": "orthogonal", "pooling": "sequence"}
    assert run(*printed(recipe_of(make_request(SearchRequest, None, given))))[0] == 0
    assert {"projection", "pooling"} <= asked[0].model_fields_set
    assert (asked[0].projection, asked[0].pooling) == (Projection.ORTHOGONAL, Pooling.SEQUENCE)
    kept = AnalyzeRequest.model_validate(AnalyzeRequest(model="m").model_dump())  # analyses do not search
    assert "--projection" not in command("analyze lens", kept, "OUTPUT").text


def test_a_search_that_prune_made_is_repeated_by_prune(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe may have settings that search does not take."""
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.prune.run", lambda recipe, *_, **__: asked.append(recipe))
    recipe = make_recipe(model="m", benchmark=("advbench",), confidence=0.95, format="adapter", budget="16")
    words = printed(recipe)
    assert words[0] == "prune"
    assert run(*words)[0] == 0
    assert asked == [recipe]
    assert printed(make_recipe(model="m", budget="16"))[0] == "search"


def test_the_model_of_a_comparison_with_questions_or_of_a_draft_can_be_made(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``prune`` has no questions to read from a folder, and saves no draft."""
    asked: list[Any] = []
    monkeypatch.setattr("prosafeprune.cli.prune.run", lambda recipe, *_, **__: asked.append(recipe))
    settings = CompareRequest(model="m", ability=("mmlu",), data_dir=Path("data"), draft=True)
    assert run(*shlex.split(making(PLAN, settings, "OUTPUT").text.replace("\\\n", ""))[1:])[0] == 0
    assert not asked[0].is_draft
    assert asked[0].data_dir is None
    assert "--data-dir" in making(PLAN, settings.model_copy(update={"benchmark": ("phtest",)}), "OUTPUT").text


def test_the_command_for_a_model_larger_than_memory_says_that_a_server_measures_it() -> None:
    """Without one, prune refuses to write the model."""
    low = make_recipe(model="m", memory="low", layers=(1, 2))
    assert making(PLAN, low, "OUTPUT").text.endswith("--serve-with SERVER")
    assert "--serve-with" not in making(PLAN, make_recipe(model="m"), "OUTPUT").text


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({}, ["bundled-pseudo-harmful", "bundled-harmful"]),
        ({"benchmark": ("beyond-policies-outside",)}, ["bundled-pseudo-harmful", "bundled-harmful", OFF_POLICY]),
        ({"suite": "beyond"}, [*BEYOND, "bundled-pseudo-harmful", "bundled-harmful"]),
    ],
)
def test_pruning_and_a_prompt_together_are_measured_on_the_sets_of_the_run(
    settings: dict[str, Any], measured: list[str], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``prune`` always measures on the bundled sets, ``compare`` on those that are named."""
    asked: list[CompareRequest] = []

    def stop(kind: type[CompareRequest], file: Any, given: dict[str, Any]) -> CompareRequest:
        asked.append(make_request(kind, file, given))
        raise InputError("read")

    monkeypatch.setattr("prosafeprune.cli.compare.make_request", stop)
    text = with_prompt(PLAN, make_recipe(model="org/tiny", **settings)).text
    run(*shlex.split(text.replace("\\\n", ""))[1:])
    assert [one.name for one in choose_sets(SetChoice.of(asked[0], 0))] == measured
