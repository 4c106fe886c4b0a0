"""``prune`` also measures the base model behind a helpful system prompt, and says which of the two is better."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import read_rows, write_prompts
from helpers.prune_runs import SETTINGS

import prosafeprune
from prosafeprune.evaluation.prompted_base import prompted_sample
from prosafeprune.jobs import measure_edits as measuring
from prosafeprune.jobs.prompted_answers import PromptedAnswers
from prosafeprune.jobs.prune import run_prune
from prosafeprune.jobs.prune_result import PruneResult
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.helpful_prompt import HELPFULNESS
from prosafeprune.report.record_consistency import is_consistent
from prosafeprune.requests.recipe import make_recipe

SAMPLED = 6
TITLE = "Answers behind a system prompt"
ROW = "behind a system prompt"


@pytest.fixture(autouse=True)
def measured_behind_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosafeprune.setup.run_prompts.prompted_sample", prompted_sample)


class Heard(SilentReporter):
    """Keeps stages and notes."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def stage(self, title: str, total: int, status: Any = None) -> Iterator[Any]:
        self.stages.append(title)
        yield lambda steps: None

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[PromptedAnswers | None]:
    """What the runs of a test answered behind the system prompt."""
    found: list[PromptedAnswers | None] = []
    measure = measuring.prompted_answers

    def kept(*given: Any) -> PromptedAnswers | None:
        found.append(measure(*given))
        return found[-1]

    monkeypatch.setattr(measuring, "prompted_answers", kept)
    return found


def measured(model: Path, files: dict[str, str], reporter: Any = None, **settings: Any) -> PruneResult:
    given = {**SETTINGS, **files, "prompting_samples": SAMPLED, "max_new_tokens": 4, **settings}
    return run_prune(make_recipe(model=str(model), **given), None, reporter=reporter or SilentReporter())


@pytest.mark.parametrize("system", [None, "Be kind."])
def test_the_answers_are_those_of_the_prompt_baseline(
    system: str | None,
    checkpoint: Make,
    prompt_files: dict[str, str],
    answered: list[PromptedAnswers | None],
    tmp_path: Path,
) -> None:
    model, settings = checkpoint("llama"), {} if system is None else {"system": system}
    record = measured(model, prompt_files, **settings).record
    (found,) = answered
    assert found is not None
    files = {
        f"test_{one.prompt_class.value}": write_prompts(tmp_path / f"{one.name}.jsonl", one.prompts.texts)
        for one in found.measurement.sets
    }
    prosafeprune.compare(
        model,
        tmp_path / "compared",
        methods="prompt",
        settings=["prompt.strategy=helpful"],
        max_new_tokens=4,
        device="cpu",
        progress=False,
        **files,
        **settings,
    )
    (rows,) = [read_rows(file) for file in (tmp_path / "compared").rglob("answers.jsonl") if "prompt" in str(file)]
    expected = {row["prompt"]: row["completion"] for row in rows}
    given = {
        text: answer
        for one in found.measurement.sets
        for text, answer in zip(one.prompts.texts, one.answers, strict=True)
    }
    assert len(given) == 2 * SAMPLED
    assert given == expected
    prompted = record.prompted
    assert prompted is not None and prompted.system == HELPFULNESS
    assert prompted.prompted.safety.successes == sum(found.measurement.of(PromptClass.HARMFUL)[0].outcomes)
    assert prompted.prompted.compliance.total == prompted.base.safety.total == prompted.pruned.safety.total == SAMPLED
    assert is_consistent(record)


def test_the_base_model_answers_before_the_edits_and_only_once(checkpoint: Make, prompt_files: dict[str, str]) -> None:
    heard, again = Heard(), Heard()
    first = measured(checkpoint("llama"), prompt_files, heard)
    assert heard.stages.count(TITLE) == heard.stages.count("Pruning") == 1
    order = [heard.stages.index(title) for title in ("Answers of the base model", TITLE, "Pruning")]
    assert order == sorted(order)
    (estimate,) = [note for note in heard.notes if note.startswith("At most about")]
    assert "answers behind a system prompt" in estimate
    second = measured(checkpoint("llama"), prompt_files, again)
    assert TITLE not in again.stages
    assert f"{TITLE}: {2 * SAMPLED} are known from an earlier run." in again.notes
    assert first.record.prompted == second.record.prompted


def test_answers_under_another_system_prompt_of_the_run_are_not_taken(
    checkpoint: Make, prompt_files: dict[str, str]
) -> None:
    measured(checkpoint("llama"), prompt_files, system="You are kind.")
    for other in ({"system": "You are rude."}, {}):
        heard = Heard()
        measured(checkpoint("llama"), prompt_files, heard, **other)
        assert TITLE in heard.stages


def test_terminal_record_page_and_card_say_it(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    files = [part for name, file in prompt_files.items() for part in (f"--{name.replace('_', '-')}", file)]
    given = ["--layers", 1, "--rank", 4, "--only-mine", "--max-new-tokens", 2, "--device", "cpu", *files]
    given += ["--max-safety-drop", 100, "--accept-unsafe", "--prompting-samples", SAMPLED]
    out, err = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", *given)
    assert ROW in out and "pruned minus" in out
    assert "A system prompt alone is not shown to be worse than pruning" in " ".join(err.split())
    assert HELPFULNESS in " ".join(err.split())
    record = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    assert record["prompted"]["verdict"] == "prompting is as good or better"
    assert record["recipe"]["prompting_samples"] == SAMPLED
    for file in ("README.md", "report.html"):
        text = (tmp_path / "out" / file).read_text()
        assert "Prune, or a system prompt?" in text, file
        assert HELPFULNESS in text, file
    out, err = run.ok("prune", checkpoint("llama"), *given, "--json")
    assert json.loads(out)["prompted"] == record["prompted"]
    assert HELPFULNESS in " ".join(err.split())


@pytest.mark.parametrize(
    "options",
    [
        ["--prompting-samples", 0],
        ["--draft"],
        ["--test-samples", 50],
        ["--system", f"Be kind. {HELPFULNESS}"],
        ["--memory", "low", "--serve-with", "vllm", "-o", "OUT"],
        ["--memory", "low", "--unmeasured", "-o", "OUT"],
        ["--load", "4bit", "--serve-with", "vllm", "-o", "OUT"],
    ],
)
def test_where_it_cannot_be_told_it_is_left_out(
    options: list[object], run: Run, checkpoint: Make, tmp_path: Path
) -> None:
    dry = ["prune", checkpoint("llama"), "--layers", 1, "--rank", 4, "--device", "cpu", "--dry-run"]
    shown = " ".join(run.ok(*dry)[0].split())
    assert shown.count(ROW) == 3  # two sets and their time
    given = [tmp_path / "out" if option == "OUT" else option for option in options]
    out, err = run.ok(*dry, *given)
    assert ROW not in " ".join(out.split()) + err


def test_a_prompt_too_long_behind_it_is_a_note(
    checkpoint: Make, prompt_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def require(config: object, reach: int, further: int) -> None:
        raise prosafeprune.InputError("too long.")

    monkeypatch.setattr("prosafeprune.jobs.readable_sets.require_positions", require)
    heard = Heard()
    assert measured(checkpoint("llama"), prompt_files, heard).record.prompted is None
    assert any(note.startswith("Not measured behind a system prompt") for note in heard.notes)
