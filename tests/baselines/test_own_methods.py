"""A method of the user's own from end to end, the settings that evaluate gives a method, and methods that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluation_runs import answers_in
from helpers.fixture_types import Make, Run
from safetensors.torch import load_file

from prosafeprune.baselines.fitting import FittedMethod, read_fitted, write_fitted
from prosafeprune.baselines.method import FittedParts
from prosafeprune.baselines.registry import make_method
from prosafeprune.errors import InputError
from prosafeprune.generation import Generator

LEANING = """
from typing import ClassVar

import torch

from prosafeprune.baselines.method import FittedParts, Method
from prosafeprune.generation import EditedGenerator, LocalGenerator
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.residual_stream import changed_outputs
from prosafeprune.prompts import PromptClass


class Leaning(Method):
    '''Leans the first layer towards the mean embedding of benign prompts.'''

    name: ClassVar[str] = "leaning"
    push: float = 2.0

    def fit(self, context):
        loaded, texts = context.loaded, context.calibration[PromptClass.BENIGN].texts
        words = torch.cat([torch.tensor(one.ids) for one in encode_prompts(loaded.tokenizer, texts)])
        with torch.no_grad():
            lean = loaded.model.get_input_embeddings()(words).mean(dim=0)
        return FittedParts({"lean": lean}, {"prompts": len(texts)})

    def generator(self, loaded, batch_size, fitted):
        layers = {0: find_anatomy(loaded.model).layers[0]}
        change = lambda layer: lambda states: states + self.push * fitted.tensors["lean"]
        return EditedGenerator(LocalGenerator(loaded, batch_size), lambda: changed_outputs(layers, change))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    return write


def test_a_method_that_learns_is_fitted_once_and_serves_evaluate(
    compare: Callable[..., dict[str, Any]],
    module: Callable[[str, str], None],
    run: Run,
    checkpoint: Make,
    sets: list[str],
    tmp_path: Path,
) -> None:
    module("leaning", LEANING)
    record = compare("--methods", "default,leaning:Leaning", "-s", "leaning:Leaning.push=3")
    assert record["methods"][1]["settings"] == {"method": "leaning", "push": 3.0}
    folder = tmp_path / "out" / "leaning"
    fitted = folder / "fitted.safetensors"
    tensors = load_file(fitted)
    assert list(tensors) == ["lean"] and tensors["lean"].shape == (48,) and bool(tensors["lean"].any())
    assert answers_in(folder) != answers_in(tmp_path / "out" / "default")

    common = [*sets, "--max-new-tokens", "4", "--device", "cpu", "--json", "--method", "leaning:Leaning"]
    out, _ = run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "alone", *common, "--fitted", fitted)
    assert answers_in(tmp_path / "alone") == answers_in(folder)
    assert json.loads(out)["made_by"]["method"] == {"method": "leaning", "push": 3.0}

    made_by, odd = read_fitted(fitted, {})[1], tmp_path / "odd.safetensors"
    for lean, changes, words in (
        ({"lean": torch.ones(3)}, {}, "is not a fit for this model"),
        ({}, {}, "is not a fit for this model"),
        ({"lean": torch.full((48,), torch.nan)}, {}, "holds values that are not numbers"),
        ({"lean": torch.ones(48)}, {"method": 5}, "is not a fit for this model"),
        ({"lean": torch.ones(48)}, {"method": {"push": 1}}, "is not a fit for this model"),
        ({"lean": torch.ones(48)}, {"calibration": {"helpful": {}}}, "is not a fit for this model"),
        ({"lean": torch.ones(48)}, {"calibration": ["harmful"]}, "is not a fit for this model"),
    ):
        write_fitted(odd, FittedParts(lean, {}), {**made_by, **changes})
        run.refused(words, "evaluate", checkpoint("llama"), "-o", tmp_path / "odd", *common, "--fitted", odd)

    for more, words in (
        (["--fitted", fitted, "-s", "leaning:Leaning.push=1"], "a fitted file has its own"),
        (["-s", "scan.threshold=0.5"], "scan is not a setting of the evaluated method"),
        (["-s", "leaning:Leaning.pull=1"], "there is no setting 'pull'"),
    ):
        run.refused(words, "evaluate", checkpoint("llama"), "-o", tmp_path / "other", *common, *more)


def test_evaluate_applies_its_method_s_settings(run: Run, checkpoint: Make, sets: list[str], tmp_path: Path) -> None:
    found = {}
    for name, more in (("plain", []), ("given", ["-s", "self-cd.ratio=0.0"]), ("stress", ["-s", "self-cd.stress=Hm."])):
        common = [*sets, "--max-new-tokens", "6", "--device", "cpu", "--json", "--method", "self-cd"]
        out, _ = run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / name, *common, *more)
        found[name] = answers_in(tmp_path / name)
        made_by = json.loads(out)["made_by"]["method"]
        assert made_by["ratio"] == (0.0 if name == "given" else 2.5)
        assert (made_by["stress"] == "Hm.") == (name == "stress")
    assert found["plain"] != found["given"] != found["stress"] != found["plain"]


def test_settings_that_belong_to_nothing(run: Run, checkpoint: Make, sets: list[str], tmp_path: Path) -> None:
    fitted = tmp_path / "fitted.safetensors"
    fitted.write_bytes(b"")
    for more, words in (
        (["-s", "scan.threshold=0.5"], "a method's settings are for a method"),
        (["--method", "scan", "--fitted", fitted, "-s", "scan.threshold=0.5"], "a fitted file has its own"),
        (["--method", "self-cd", "-s", "scan.threshold=0.5"], "scan is not a setting of the evaluated method, self-cd"),
        (["--method", "scan", "-s", "scan.threshold=7"], "less than or equal to 1"),
        (["--method", "self-cd", "-s", "self-cd.ratio=inf"], "must be a finite number"),
        (["--method", "scan", "-s", "scan.multiplier=nan"], "must be a finite number"),
        (["--method", "scan", "-s", "threshold"], "write METHOD.SETTING=VALUE"),
    ):
        run.refused(words, "evaluate", checkpoint("llama"), "-o", tmp_path / "out", *sets, "--device", "cpu", *more)
        assert not (tmp_path / "out" / "evaluation.json").exists()


def test_only_what_a_damaged_fit_makes_go_wrong_is_called_damage(tmp_path: Path) -> None:
    method = FittedMethod(make_method("self-cd"), {}, tmp_path / "fitted.safetensors")

    def differing() -> Generator:
        raise AssertionError(torch.ones(3) + torch.ones(4))

    def faulty() -> Generator:
        raise RuntimeError("a fault of this package")

    with pytest.raises(InputError, match="is not a fit for this model"):
        method.guarded(differing)
    with pytest.raises(RuntimeError, match="a fault of this package"):
        method.guarded(faulty)


FAILING = """
from typing import ClassVar
from prosafeprune.baselines.method import LocalGenerator, Method

class Fails(Method):
    name: ClassVar[str] = "fails"
    place: str = "fit"

    def fit(self, context):
        return super().fit(context) if self.place != "fit" else {}["direction"]

    def generator(self, loaded, batch_size, fitted):
        return LocalGenerator(loaded, batch_size) if self.place == "fit" else Halting()

class Halting:
    def answer(self, prompts, decoding):
        raise KeyError("direction")

    def describe(self):
        return {}
"""


@pytest.mark.parametrize("place", ["fit", "answer"])
def test_what_goes_wrong_in_a_method_of_the_user_s_own_is_no_bug_of_the_package(
    run: Run, checkpoint: Make, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "failing_method.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    given = ["--method", "failing_method:Fails", "-s", f"failing_method:Fails.place={place}"]
    words = "failing_method:Fails: fails (KeyError: 'direction')"
    run.refused(words, "evaluate", checkpoint("llama"), "-o", tmp_path / "out", *sets, "--device", "cpu", *given)


OWN = "from typing import ClassVar\nfrom prosafeprune.baselines.method import Method\nclass Own(Method):\n    "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise RuntimeError('no luck')", "its module fails when it is imported (RuntimeError: no luck)"),
        ("1 / 0", "its module fails when it is imported (ZeroDivisionError"),
        ("def broken(:", "its module fails when it is imported (SyntaxError"),
        ("import a_module_that_is_nowhere", "cannot be imported"),
        ("Own = 7", "is not a subclass of"),
        (f"{OWN}pass", "its name, which is also that of its folder"),
        (f"{OWN}name: ClassVar[str] = '../x'", "'../x'"),
        (f"{OWN}name: ClassVar[str] = 'search'", "must not be 'search'"),
        (f"{OWN}name: ClassVar[str] = ''", "(its name: '')"),
        (f"{OWN}name: ClassVar[object] = 7", "(its name: 7)"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "evaluate"])
def test_a_method_that_is_none_is_one_line(
    command: str,
    text: str,
    words: str,
    module: Callable[[str, str], None],
    run: Run,
    checkpoint: Make,
    sets: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    name = f"own_{abs(hash(request.node.name))}"  # a module is imported once in a process
    module(name, text)
    option = "--methods" if command == "compare" else "--method"
    err = run.refused(words, command, checkpoint("llama"), "-o", tmp_path / "out", *sets, option, f"{name}:Own")
    assert len(err.splitlines()) == 1 and err.startswith("Error: ")
    assert not (tmp_path / "x").exists()


def test_a_method_that_failed_may_be_corrected_in_the_same_folder(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_method.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    command = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *options, "--methods"]
    command += ["default,failing_method:Fails", "-s"]
    run.refused("Fails: fails (KeyError: 'direction')", *command, "failing_method:Fails.place=fit")
    answers = answers_in(tmp_path / "out" / "default")
    run.refused("Fails: fails (KeyError: 'direction')", *command, "failing_method:Fails.place=answer")  # gets further
    assert answers_in(tmp_path / "out" / "default") == answers
