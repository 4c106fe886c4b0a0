"""``--help`` as a reader sees it: complete, true, and with the common options first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest
from helpers.fixture_types import Run

from prosafeprune.cli.options import EXPERT_PANEL, PLAN_DEFAULTS, SEARCH_DEFAULTS
from prosafeprune.cli.shell_completion import completer_of
from prosafeprune.method.plan import HARMFUL_SHARE, Pooling, Projection
from prosafeprune.requests.apply import ApplyRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.evaluate import EvaluateRequest
from prosafeprune.requests.judging import JudgeOptions
from prosafeprune.requests.prompt_tools import CheckRequest, MineRequest, RateRequest, SplitRequest
from prosafeprune.requests.recipe import Recipe, make_recipe
from prosafeprune.requests.search import SearchRequest

REQUESTS: dict[str, Any] = {
    "prune": Recipe,
    "search": SearchRequest,
    "apply": ApplyRequest,
    "evaluate": EvaluateRequest,
    "compare": CompareRequest,
    "judge": JudgeOptions,
    "prompts mine": MineRequest,
    "prompts rate": RateRequest,
    "prompts check": CheckRequest,
    "prompts split": SplitRequest,
}
COMMANDS = [*REQUESTS, "analyze", "demo", "chat", "playground", "serve", "doctor"]


def shown(run: Run, command: str, monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    return out


def words(text: str) -> str:
    """Return text without frames and line breaks."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("command", REQUESTS)
def test_every_setting_is_an_option_with_its_complete_description(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = words(shown(run, command, monkeypatch, 400))
    for name, field in REQUESTS[command].model_fields.items():
        option = (field.json_schema_extra or {}).get("option", name)
        assert name == "model" or f"--{option.replace('_', '-')} " in text
        assert " ".join(str(field.description).split()) in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_readable_at_80_columns(command: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(run, command, monkeypatch)
    assert max(map(len, text.split("\n"))) <= 80
    assert "…" not in text
    assert not re.search(r"[:(] ?\.(\s|$)", words(text))  # what is left where markup was removed


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("prune", "prosafeprune prune [OPTIONS] [MODEL]"),
        ("apply", "prosafeprune apply [OPTIONS] ADAPTER [MODEL]"),
        ("analyze", "prosafeprune analyze [OPTIONS] [NAME]... MODEL"),
        ("playground", "prosafeprune playground [OPTIONS] MODEL [PRUNED]"),
        ("prompts check", "prosafeprune prompts check [OPTIONS] FILES..."),
    ],
)
def test_the_usage_line_is_the_usual_one(command: str, usage: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(run, command, monkeypatch)
    assert f"Usage: {usage} " in text
    assert "<bool>" not in text


def test_square_brackets_survive(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pip install 'prosafeprune[ray]'" in words(shown(run, "prune", monkeypatch, 200))


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pl", "playground"),
        ("chat --tem", "--temperature"),
        ("prune m --judge w", "wildguard"),
        ("compare m --methods default,sc", "default,scan"),
    ],
)
def test_a_shell_completes_commands_options_and_values(typed: str, offered: str) -> None:
    line = f"prosafeprune {typed}"
    asked = {"_PROSAFEPRUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    found = subprocess.check_output([sys.executable, "-m", "prosafeprune"], env={**os.environ, **asked}, text=True)
    assert found.split() == [offered]


def completed(setting: str, typed: str = "", request: Any = Recipe) -> list[str]:
    complete = completer_of(setting, request.model_fields[setting].annotation)
    return complete(typed) if complete else []


CHOICES = ("judge", "suite", "format", "pooling", "projection", "calibration", "thinking", "floor", "memory")


@pytest.mark.parametrize("setting", CHOICES)
def test_values_that_a_shell_offers_are_accepted(setting: str) -> None:
    offered = completed(setting)
    assert len(offered) > 1
    for value in offered:
        made = make_recipe(model="m", layers=1, **{setting: value})
        assert str(getattr(made, setting)) == value


def test_a_shell_offers_the_names_that_a_command_knows() -> None:
    from prosafeprune.baselines.registry import METHODS
    from prosafeprune.evaluation.sets import SetChoice, choose_sets

    assert set(completed("methods", request=CompareRequest)) == set(METHODS)
    offered = completed("benchmark", "beyond-domains")
    assert [benchmark.name for benchmark in choose_sets(SetChoice(benchmarks=offered))] == offered
    assert "xstest" in completed("benchmark")


def test_a_list_of_names_is_completed_at_its_end_without_repeats() -> None:
    assert completed("methods", "scan,s", CompareRequest) == [
        *("scan,self-cd", "scan,surgical", "scan,sft", "scan,self-training", "scan,safe-patching"),
    ]
    assert completed("ability", "mmlu,", EvaluateRequest) == ["mmlu,commonsenseqa", "mmlu,gsm8k", "mmlu,all"]


def test_files_are_left_to_the_shell() -> None:
    assert completer_of("data_dir", Recipe.model_fields["data_dir"].annotation) is None
    assert completer_of("rank", Recipe.model_fields["rank"].annotation) is None


def test_common_options_come_first_and_expert_ones_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(run, "prune", monkeypatch)
    panels = re.findall("╭─ (.*?) ─", text)
    assert panels[:2] == ["Arguments", "Options"]
    assert panels[-1] == EXPERT_PANEL
    order = [text.index(f"--{name} ") for name in ("output", "layers", "harmful", "judge-endpoint", "ray", "dtype")]
    assert order == sorted(order)


def test_the_defaults_of_a_search_are_true() -> None:
    from prosafeprune.jobs.search_trials import SearchChoices

    choices = SearchChoices.of(make_recipe(model="m"))
    assert SEARCH_DEFAULTS["projection"] == choices.projection.value
    assert choices.rank == make_recipe(model="m").rank  # what the help says of every plan
    assert [SEARCH_DEFAULTS["pooling"]] == [pooling.value for pooling in choices.poolings]
    assert (SEARCH_DEFAULTS["harmful_share"] == "several are tried") == (len(choices.harmful_shares) > 1)
    assert PLAN_DEFAULTS["harmful_share"].startswith(str(HARMFUL_SHARE[Projection.CONTRASTIVE]))
    recipe = make_recipe(model="m", layers=1)
    assert recipe.projection is Projection.ORTHOGONAL
    assert recipe.pooling is Pooling.SEQUENCE
    given = (recipe.projection.value, recipe.pooling.value)
    assert tuple(PLAN_DEFAULTS[name].split(";")[0] for name in ("projection", "pooling")) == given


def test_a_search_s_help_has_no_setting_of_a_given_plan(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = words(shown(run, "search", monkeypatch))
    assert "--layers" not in text
    assert "Default: contrastive." in text
    assert "Default: orthogonal" not in text


def test_paragraphs_are_not_broken_where_the_source_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.strip() for line in shown(run, "search", monkeypatch, 300).split("\n")]
    expected = "Every trial is saved. Run the same command again to resume, or with a larger --budget to search longer."
    assert expected in lines
