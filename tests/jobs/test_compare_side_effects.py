"""What a comparison tells besides the rates: general ability and benign KL of every method."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.compare_runs import with_methods
from helpers.evaluation_runs import no_model
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_rows

from prosafeprune.baselines.fitting import FITTED, method_from_file
from prosafeprune.baselines.method import ModelChange
from prosafeprune.baselines.prompting import STRATEGIES
from prosafeprune.jobs.compare import run_compare
from prosafeprune.model.loading import load_model
from prosafeprune.progress import Advance, SilentReporter, Status
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.setup.prompt_sets import BENIGN_PROMPTS

METHODS = "default,prompt,surgical,prosafeprune"


@pytest.fixture
def sums(sets: list[str], tmp_path: Path) -> Path:
    """Questions of GSM8K in the folder with the sets."""
    rows = ({"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(4))
    write_rows(tmp_path / "data" / "gsm8k_test.jsonl", rows)
    return tmp_path / "data"


@pytest.fixture
def record(compare: Callable[..., dict[str, Any]], sums: Path) -> dict[str, Any]:
    return compare("--methods", METHODS, "--ability", "gsm8k", "--ability-tokens", 3)


def test_every_method_answers_the_questions_and_is_compared_with_default(
    record: dict[str, Any], compare: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, *others = record["methods"]
    assert default["ability_changes"] == {}
    assert default["ability"]["gsm8k"]["accuracy"]["total"] == 4
    assert all(set(method["ability_changes"]) == {"gsm8k"} for method in others)
    assert len(read_rows(tmp_path / "out" / "prompt" / "ability-3.jsonl")) == 4
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "General ability and divergence" in page
    assert "gsm8k" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    no_model(monkeypatch)
    options = ["--methods", METHODS, "--ability", "gsm8k", "--ability-tokens", 3]
    assert compare(*options) == record


def test_changes_of_ability_are_counted_question_by_question(
    record: dict[str, Any], compare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Answers put into the folders by hand: default has 3 of 4 right, the pruned model 2, one of which is new."""
    for method, right in (("default", {0, 1, 2}), ("prosafeprune", {2, 3})):
        file = tmp_path / "out" / method / "ability-3.jsonl"
        rows = read_rows(file)
        for row in rows:
            number = int(row["prompt"].split(" + 1?")[0].rpartition(" ")[2])
            row["completion"] = f"\\boxed{{{number + 1 if number in right else 0}}}"
        write_rows(file, rows)
    again = compare("--methods", METHODS, "--ability", "gsm8k", "--ability-tokens", 3)
    pruned = again["methods"][-1]
    assert pruned["ability"]["gsm8k"]["accuracy"]["percent"] == 50
    change = pruned["ability_changes"]["gsm8k"]
    assert (change["points"], change["won"], change["lost"]) == (-25, 1, 2)


def test_the_benign_kl_is_that_of_a_plain_loop(record: dict[str, Any], checkpoint: Make, tmp_path: Path) -> None:
    found = {method["name"]: method["divergence"] for method in record["methods"]}
    assert found["default"] is None
    loaded = load_model(checkpoint("llama"), "llama", SilentReporter(), device="cpu")
    for name in ("surgical", "prosafeprune"):
        fitted = method_from_file(name, tmp_path / "out" / name / FITTED, record["made_by"]["model"])
        assert isinstance(fitted.method, ModelChange)
        expected = plain_divergence(loaded, fitted.method.changes(loaded, fitted.parts))
        assert found[name]["mean"] == pytest.approx(expected, rel=1e-2, abs=1e-6)
    words = STRATEGIES["helpful"].system
    assert found["prompt"]["mean"] == pytest.approx(plain_divergence(loaded, nullcontext, words), rel=1e-2, abs=1e-6)
    assert found["prosafeprune"]["mean"] > 1e-5


def test_the_divergence_on_prompts_of_another_seed_is_measured_again(
    compare: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method without a fit resumes under any seed: beside a method added now it was of other prompts."""
    monkeypatch.setattr("prosafeprune.jobs.benign_divergence.BENIGN_PROMPTS", 3)

    def of_prompt(*options: object) -> dict[str, Any]:
        found: dict[str, Any] = compare("--methods", "default,prompt", *options)["methods"][1]["divergence"]
        return found

    first = of_prompt()
    other = of_prompt("--seed", 1)
    assert other["worst_prompt"] != first["worst_prompt"]
    assert other == of_prompt("--seed", 1, "--overwrite")
    assert of_prompt() == first


def plain_divergence(loaded: Any, changed: Callable[[], Any], system: str | None = None) -> float:
    """The mean over prompts of the mean KL at the first eight positions of the model's greedy answers.

    The changed model reads each prompt behind the system prompt, if there is one.
    """

    def ids_of(text: str, system: str | None) -> torch.Tensor:
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": text})
        rendered = loaded.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        return rendered["input_ids"]

    by_prompt = []
    for text in bundled_prompts(PromptClass.BENIGN, "test").sample(BENIGN_PROMPTS, 0).texts:
        asked, read = ids_of(text, None), ids_of(text, system)
        whole = loaded.model.generate(asked, max_new_tokens=8, do_sample=False)
        ends = loaded.model.generation_config.eos_token_id
        answer = whole[0, asked.shape[1] :].tolist()
        if answer[-1] in (ends if isinstance(ends, list) else [ends]):
            whole = whole[:, :-1]
        positions = slice(asked.shape[1] - 1, min(whole.shape[1], asked.shape[1] + 7))
        behind = torch.cat([read, whole[:, asked.shape[1] :]], dim=1)
        later = read.shape[1] - asked.shape[1]
        of_behind = slice(positions.start + later, positions.stop + later)
        with torch.no_grad():
            base = loaded.model(whole).logits[0, positions].double().log_softmax(-1)
            with changed():
                now = loaded.model(behind).logits[0, of_behind].double().log_softmax(-1)
        by_prompt.append((base.exp() * (base - now)).sum(-1).mean())
    return float(torch.stack(by_prompt).mean())


def test_settings_of_tasks_without_a_task_are_refused(run: Run, checkpoint: Make, options: list[str]) -> None:
    asked = [*options, *with_methods("default"), "--ability-samples", "3"]
    run.refused("ability_samples is for tasks", "compare", checkpoint("llama"), *asked)


def test_without_ability_or_a_changed_model_there_is_no_such_table(
    compare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    compare("--methods", "default")
    assert "ivergence" not in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["methods"][0]["ability"] == {}


OWN = """
from typing import ClassVar

from prosafeprune.baselines.method import LocalGenerator, Method


class Own(Method):
    name: ClassVar[str] = "own"

    def generator(self, loaded, batch_size, fitted):
        return Choosing(LocalGenerator(loaded, batch_size))


class Choosing:
    def __init__(self, inner):
        self.inner = inner

    def answer(self, prompts, decoding):
        yield from self.inner.answer(prompts, decoding)

    def describe(self):
        return self.inner.describe()
"""


def test_every_method_has_a_benign_kl_unless_its_decoding_is_of_the_user_s_own(
    compare: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_choice.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    methods = "default,prompt,self-cd,scan,null-space,prompt+prosafeprune,own_choice:Own"
    options = ["--methods", methods, "-s", "null-space.strength=30"]
    record = compare(*options)
    found = {method["name"]: method["divergence"] for method in record["methods"]}
    measured = set(found) - {"default", "own"}
    assert len(measured) == 5
    assert found["default"] is None and found["own"] is None
    assert all(found[name]["mean"] > 1e-5 and found[name]["prompts"] > 1 for name in measured)
    table = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8").partition("**Divergence**")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [row.partition(" | ")[0].strip("| ") for row in rows if "not defined" in row] == ["own"]
    no_model(monkeypatch)
    assert compare(*options) == record


class PartsReporter(SilentReporter):
    """Notes the steps of each stage by its title."""

    def __init__(self) -> None:
        self.steps: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        steps = self.steps[title] = []
        yield steps.append
        assert sum(steps) == pytest.approx(total)


def test_bars_move_while_a_batch_of_answers_runs(sums: Path, checkpoint: Make, tmp_path: Path) -> None:
    """Answers to questions have 512 tokens, so that a batch of them takes many minutes on a CPU."""
    reporter = PartsReporter()
    request = CompareRequest(
        model=str(checkpoint("llama")),
        methods=("default", "prompt"),
        benchmark=("oktest", "advbench"),
        data_dir=sums,
        max_new_tokens=4,
        ability=("gsm8k",),
        ability_tokens=3,
        layers="1",
        device="cpu",
    )
    run_compare(request, tmp_path / "compared", reporter=reporter)
    for title in ("Answers: default", "General ability: prompt", "Prompting: strategies"):
        assert any(0 < step % 1 < 1 for step in reporter.steps[title]), title
