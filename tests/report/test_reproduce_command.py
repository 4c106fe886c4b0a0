"""The commands on pages: run by the command line, they make the same request."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import Reader, measurement
from helpers.prune_records import PLAN, pruned

from prosafeprune.report.page import render_page
from prosafeprune.report.reproduce_command import command
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.recipe import make_recipe


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
    settings |= {"harmful": "it's mine.txt", "trust_remote_code": True, "budget": "10m", "data_dir": Path("data")}
    page = pruned(measurement(20, 95), measurement(50, 94), **settings)
    code, _, err = run(*command_of(render_page(page)))
    assert code == 0, err
    plan = {"layers": PLAN.layers, "rank": 8, "strength": PLAN.strength, "pooling": PLAN.pooling}
    assert asked == [make_recipe(**{"model": "org/tiny", **settings, **plan, "budget": "8"})]


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
