"""What is done once is not done again: searches and answers are kept in the cache, whatever the next command is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts
from helpers.prune_runs import prune

from prosafeprune.evaluation import measure as measuring
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation.local import LocalGenerator
from prosafeprune.jobs import search as searching


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of prompts of each call of the generator."""
    calls: list[int] = []
    answer = LocalGenerator.answer

    def counted(self: LocalGenerator, prompts: Any, decoding: Any) -> Any:
        calls.append(len(prompts))
        return answer(self, prompts, decoding)

    monkeypatch.setattr(LocalGenerator, "answer", counted)
    return calls


@pytest.mark.long
def test_a_measured_model_is_written_without_answering_again(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, answered: list[int]
) -> None:
    measured = prune(checkpoint("llama"), None, prompt_files)
    tested = [score.rate.total for score in measured.record.source.sets]
    assert answered == [*tested, *tested]
    answered.clear()
    written = prune(checkpoint("llama"), tmp_path / "out", prompt_files)
    assert answered == []
    assert written.record.result == measured.record.result
    assert written.record.run == measured.record.run  # batch sizes included


@pytest.mark.long
def test_another_strength_shares_the_answers_of_the_base_model_only(
    checkpoint: Make, prompt_files: dict[str, str], answered: list[int]
) -> None:
    prune(checkpoint("llama"), None, prompt_files)
    answered.clear()
    prune(checkpoint("llama"), None, prompt_files, strength=0.3)
    assert len(answered) == 2  # sets


@pytest.mark.long
def test_a_further_set_leaves_the_answers_to_the_others(
    checkpoint: Make, prompt_files: dict[str, str], answered: list[int], tmp_path: Path
) -> None:
    first = prune(checkpoint("llama"), None, prompt_files)
    write_prompts(tmp_path / "own.jsonl", [f"Tell me about lock {number}." for number in range(3)])
    answered.clear()
    second = prune(checkpoint("llama"), None, prompt_files, test_pseudo_harmful=str(tmp_path / "own.jsonl"))
    assert answered == [3, 3]
    own, *others = second.record.result.sets
    assert (own.name, others) == ("own-pseudo-harmful", first.record.result.sets)


@pytest.mark.long
def test_other_answers_are_not_taken_for_these(
    checkpoint: Make, prompt_files: dict[str, str], answered: list[int]
) -> None:
    prune(checkpoint("llama"), None, prompt_files)
    answered.clear()
    prune(checkpoint("llama"), None, prompt_files, max_new_tokens=3)
    prune(checkpoint("llama"), None, prompt_files, batch_size=7)
    prune(checkpoint("qwen2"), None, prompt_files)
    assert len(answered) == 12


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "change"),
    [("tokenizer.json", {"normalizer": {"type": "Lowercase"}}), ("generation_config.json", {"eos_token_id": [1, 9]})],
)
def test_answers_through_another_tokenizer_are_not_taken_for_these(
    name: str,
    change: dict[str, Any],
    checkpoint: Make,
    prompt_files: dict[str, str],
    answered: list[int],
    tmp_path: Path,
) -> None:
    """The model's hash is of weights and config alone, and the safety floor would be decided on old answers."""
    source = Path(shutil.copytree(checkpoint("llama"), tmp_path / "model"))
    prune(source, None, prompt_files)
    answered.clear()
    content = json.loads((source / name).read_text()) if (source / name).exists() else {}
    (source / name).write_text(json.dumps({**content, **change}))
    prune(source, None, prompt_files)
    assert len(answered) == 4


def test_an_interrupted_run_with_given_layers_resumes(
    checkpoint: Make, prompt_files: dict[str, str], answered: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, add = [0], LineStore.add

    def interrupted(self: LineStore, *values: Any, **named: Any) -> None:
        if self.path is not None and store[0] == 20:
            raise KeyboardInterrupt
        store[0] += self.path is not None
        add(self, *values, **named)

    monkeypatch.setattr(LineStore, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(checkpoint("llama"), None, prompt_files)
    monkeypatch.setattr(LineStore, "add", add)
    first = answered.pop()
    result = prune(checkpoint("llama"), None, prompt_files)
    assert answered == [first - 20, first, first, first]
    assert result.record.source.sets[0].rate.total > 20


def test_a_cache_that_cannot_be_written_is_done_without(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROSAFEPRUNE_CACHE", str(tmp_path / "file"))
    assert prune(checkpoint("llama"), None, prompt_files).record.source.sets


@pytest.mark.long
@pytest.mark.usefixtures("few_prompts")
def test_a_search_is_found_by_the_next_command(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.jobs.search.select_point", lambda *_: 1)
    monkeypatch.chdir(tmp_path)
    _, err = run.ok("search", checkpoint("llama"), *search_options)
    assert f"prosafeprune prune {checkpoint('llama')}" in err
    assert "-o pruned --choose N" in err

    def no_search(*_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr("prosafeprune.jobs.search._Search.run", no_search)
    code, _, err = run("search", checkpoint("llama"), *search_options)
    assert (code, "finished already" in err) == (0, True), err
    _, err = run.ok("prune", checkpoint("llama"), *search_options)
    assert "nothing is written" in err
    assert "-o pruned" in err.splitlines()[-1]
    run.ok("prune", checkpoint("llama"), "-o", "two", "--choose", 2, *search_options)
    assert json.loads((tmp_path / "two" / "prosafeprune.json").read_text())["plan"]
    monkeypatch.setattr(measuring, "collect_answers", no_search)
    run.refused("the points 1 to", "prune", checkpoint("llama"), "--choose", 99, *search_options)


@pytest.mark.long
@pytest.mark.usefixtures("few_prompts")
def test_a_larger_budget_or_another_confidence_resumes_a_finished_search(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ["-o", tmp_path / "search"]
    run("search", checkpoint("llama"), *folder, *search_options)
    run.ok("search", checkpoint("llama"), *folder, *search_options, "--budget", 6)
    assert json.loads((tmp_path / "search" / "search.json").read_text())["trials"] == 6
    asked: list[float] = []
    monkeypatch.setattr(searching, "select_point", lambda *given: asked.append(given[-1]))
    again = ["--search", tmp_path / "search", "--budget", 6]
    run("prune", checkpoint("llama"), *again, *search_options, "--confidence", 0.99)
    assert asked == [0.99]  # a point is selected again, with the same trials
    monkeypatch.setattr(searching, "SELECTION", 3)
    run("prune", checkpoint("llama"), *again, *search_options, "--confidence", 0.99)
    assert asked == [0.99, 0.99]  # also where the rule is another one
