"""The public Python interface: a function for every command, with keyword arguments that editors know."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from helpers.fixture_types import Make
from helpers.json_lines import write_rows

import prosafeprune
from prosafeprune import api
from prosafeprune.cli.application import app
from prosafeprune.errors import InputError

SCRIPT = Path(__file__).parents[1] / "scripts" / "make_typed_settings.py"
FUNCTIONS = ("prune", "prune_unmeasured", "search", "apply", "evaluate", "compare", "analyze", "judge")
OF_PROMPTS = ("mine_prompts", "rate_prompts", "check_prompts", "split_prompts")
IMPORTS = """
import prosafeprune
before = prosafeprune.judge
import prosafeprune.judges, prosafeprune.plan_search, prosafeprune.jobs.judge, prosafeprune.cli.search
from prosafeprune import judge, search
assert judge is before and callable(judge) and search is prosafeprune.search
assert search.__module__ == "prosafeprune.api"
assert set(prosafeprune.__all__) <= set(dir(prosafeprune))
"""


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_typed_settings", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_typed_settings_are_those_of_the_requests() -> None:
    made = maker()
    assert made.FILE.read_text(encoding="utf-8") == made.source(), f"run {SCRIPT.name}"


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_PROMPTS])
def test_every_setting_is_a_keyword_argument(name: str) -> None:
    function = getattr(prosafeprune, name)
    settings = get_type_hints(function)["settings"].__args__[0]  # of Unpack
    request, named = maker().DICTIONARIES[settings.__name__]
    assert settings.__annotations__.keys() == request.model_fields.keys() - set(named)
    parameters = {
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    own = {"base": "model"}  # apply's second argument
    hidden = {"memory", "unmeasured"} if name == "prune_unmeasured" else set()
    assert set(named) - hidden <= {own.get(parameter, parameter) for parameter in parameters}
    assert not settings.__annotations__.keys() & parameters


def test_every_command_has_a_function() -> None:
    commands = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
    assert commands - {"demo", "chat", "playground", "serve", "doctor"} <= set(FUNCTIONS)  # doctor has no settings
    (prompts,) = [group.typer_instance for group in app.registered_groups if group.name == "prompts"]
    of_prompts = {
        f"{command.callback.__name__}_prompts"
        for command in prompts.registered_commands
        if command.callback is not None
    }
    assert of_prompts == set(OF_PROMPTS)
    assert all(getattr(prosafeprune, name) is getattr(api, name) for name in (*FUNCTIONS, *OF_PROMPTS))


def test_everything_exported_is_there() -> None:
    assert set(prosafeprune.__all__) == set(prosafeprune._MODULES)
    assert all(getattr(prosafeprune, name) is not None for name in prosafeprune.__all__)
    assert set(prosafeprune.__all__) <= set(dir(prosafeprune))
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = prosafeprune.nonesuch  # type: ignore[attr-defined]


def test_importing_subpackages_hides_no_function() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_judge_returns_verdicts_and_agreement(tmp_path: Path) -> None:
    answers = [("How do I kill a process?", "Run kill with its process id."), ("Hi", "I'm sorry, but I can't help.")]
    rows = [{"prompt": prompt, "completion": answer, "who": "1. yes"} for prompt, answer in answers]
    file = write_rows(tmp_path / "answers.jsonl", rows)
    judged = prosafeprune.judge(file, tmp_path / "out.jsonl", labels="who", progress=False)
    assert judged.agreement is not None
    assert judged.counts == {"full_compliance": 1, "full_refusal": 1}
    written = [json.loads(line)["class"] for line in (tmp_path / "out.jsonl").open()]
    assert written == [verdict.answer_class.value for verdict in judged.verdicts] == ["full_compliance", "full_refusal"]
    with pytest.raises(InputError, match="--overwrite"):
        prosafeprune.judge(file, tmp_path / "out.jsonl", progress=False)


def test_search_returns_the_record_and_its_folder(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(api, "run_search", lambda *given: asked.append(given) or "result")
    result = prosafeprune.search("org/tiny", "out", budget=5, rank=8, progress=False)
    assert result == "result"
    request, output, _, ray = asked[0]
    assert (request.model, request.budget, request.rank, output, ray) == ("org/tiny", "5", 8, Path("out"), None)
    assert "pooling" not in request.model_fields_set  # so that the search varies it
    with pytest.raises(InputError, match="layers"):
        prosafeprune.search("org/tiny", layers=3)  # type: ignore[call-arg]


class Folder:
    """A path of another library."""

    def __fspath__(self) -> str:
        return "/nowhere/at-all"


CALLS: dict[str, Callable[[Any], object]] = {
    "prune model": lambda odd: prosafeprune.prune(odd, progress=False),
    "prune output": lambda odd: prosafeprune.prune("/nowhere/m", odd, progress=False),
    "prune recipe": lambda odd: prosafeprune.prune("/nowhere/m", recipe=odd, progress=False),
    "prune choose": lambda odd: prosafeprune.prune("/nowhere/m", choose=odd, progress=False),
    "prune overwrite": lambda odd: prosafeprune.prune("/nowhere/m", overwrite=odd, progress=False),
    "prune harmful": lambda odd: prosafeprune.prune("/nowhere/m", harmful=odd, progress=False),
    "prune earlier": lambda odd: prosafeprune.prune("/nowhere/m", earlier=odd, progress=False),
    "search output": lambda odd: prosafeprune.search("/nowhere/m", odd, progress=False),
    "search ray": lambda odd: prosafeprune.search("/nowhere/m", ray=odd, progress=False),
    "apply adapter": lambda odd: prosafeprune.apply(odd, "/nowhere/m", "o", progress=False),
    "apply base": lambda odd: prosafeprune.apply("/nowhere/a", odd, "o", progress=False),
    "evaluate against": lambda odd: prosafeprune.evaluate("/nowhere/m", "o", against=odd, progress=False),
    "evaluate data_dir": lambda odd: prosafeprune.evaluate("/nowhere/m", "o", data_dir=odd, progress=False),
    "compare methods": lambda odd: prosafeprune.compare("/nowhere/m", "o", methods=odd, progress=False),
    "analyze names": lambda odd: prosafeprune.analyze("/nowhere/m", "o", odd, progress=False),
    "judge answers": lambda odd: prosafeprune.judge(odd, progress=False),
    "judge labels": lambda odd: prosafeprune.judge("/nowhere.jsonl", labels=odd, progress=False),
    "judge prompt_field": lambda odd: prosafeprune.judge("/nowhere.jsonl", prompt_field=odd, progress=False),
    "push folder": lambda odd: prosafeprune.push(odd, "org/name", progress=False),
    "mine logs": lambda odd: prosafeprune.mine_prompts(odd, "o", progress=False),
    "check files": prosafeprune.check_prompts,
    "split output": lambda odd: prosafeprune.split_prompts("/nowhere.txt", odd),
    "rate file": lambda odd: prosafeprune.rate_prompts(odd, model="/nowhere/m", progress=False),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "odd",
    [
        5,
        1.5,
        b"x",
        object(),
        ["a", 5],
        {},
        "a\0b",
        "\ud83d",
        "x" * 5000,
        "~nobody-of-that-name/x",
        "/dev/zero",
        Folder(),
    ],
    ids=lambda value: ascii(value)[:12],
)
def test_any_wrong_argument_is_an_input_error(
    call: str, odd: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError) as caught:
        CALLS[call](odd)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_switch_that_is_text_does_not_overwrite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="overwrite: must be bool .given: 'false'"):
        prosafeprune.judge("/nowhere.jsonl", tmp_path / "out", overwrite="false")  # type: ignore[arg-type]


def test_what_the_system_refuses_is_an_input_error(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "answers.jsonl", [{"prompt": "Hi", "completion": "No."}])
    with pytest.raises(InputError, match="File name too long"):
        prosafeprune.judge(file, tmp_path / ("x" * 300), progress=False)


@pytest.mark.parametrize("name", ["answers.jsonl", "link.jsonl"])
def test_the_answers_themselves_are_never_overwritten(name: str, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "answers.jsonl", [{"prompt": "Hi", "completion": "No."}])
    (tmp_path / "link.jsonl").symlink_to(file)
    before = file.read_bytes()
    with pytest.raises(InputError, match="is the file that is read"):
        prosafeprune.judge(file, tmp_path / name, overwrite=True, progress=False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        prosafeprune.judge(file, tmp_path / "pipe", overwrite=True, progress=False)
    assert file.read_bytes() == before
