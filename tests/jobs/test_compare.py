"""`prosafeprune compare`: what it prints and keeps, and how it resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.compare_runs import with_methods
from helpers.evaluation_runs import answers_in, no_model, prompt_options, prompts_asked
from helpers.fixture_types import Make, Run

from prosafeprune.baselines.registry import METHODS
from prosafeprune.requests.compare import METHOD_NAMES, ON_REQUEST
from prosafeprune.setup import prompt_sets

ALL = ",".join(METHOD_NAMES)


def test_the_names_that_help_tells_are_those_there_are() -> None:
    assert tuple(METHODS) == (*METHOD_NAMES, *ON_REQUEST)


def test_all_methods_are_compared_on_the_same_prompts(
    compare: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = compare("--methods", ALL)
    assert [method["name"] for method in record["methods"]] == list(METHOD_NAMES)
    assert record["left_out"] == {}
    default, *others = record["methods"]
    assert default["against_default"] is None
    assert default["cost"]["answer_ratio"] is None
    for method in others:
        assert {score["rate"]["total"] for score in method["scores"]["sets"]} == {4}
        assert set(method["against_default"]["changes"]) == {"oktest", "advbench"}
        assert method["cost"]["answer_ratio"] == pytest.approx(
            method["cost"]["seconds_per_answer"] / default["cost"]["seconds_per_answer"]
        )
        assert 1 <= method["cost"]["tokens_per_answer"] <= 4
    assert [method["name"] for method in others if method["learned_sha256"]] == ["scan", "surgical", "prosafeprune"]
    assert others[-1]["settings"]["plan"]["layers"] == [1]
    assert record == json.loads((tmp_path / "out" / "comparison.json").read_text())
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert all(f"\n| {name}" in page for name in METHOD_NAMES)
    html = (tmp_path / "out" / "report.html").read_text()
    assert all(words in html for words in (*METHOD_NAMES, "--settings scan.first_layer=0", "Time per answer"))
    # and all of it is read, not done again
    no_model(monkeypatch)
    assert compare("--methods", ALL) == record


def test_the_table_reads_like_table_1(run: Run, checkpoint: Make, options: list[str], tmp_path: Path) -> None:
    asked = [*options, *with_methods("prompt")]
    out, _ = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "out", *asked)
    for words in ("OKTest", "AdvBench", "Avg.", "prompt", "95 % interval", "seconds"):
        assert words in out


def test_an_interrupted_comparison_goes_on_method_by_method_and_answer_by_answer(
    compare: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare("--methods", "default,scan")
    answers = tmp_path / "out" / "scan" / "answers.jsonl"
    kept = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join(kept[:3]) + kept[3][:10])  # killed while it wrote the fourth
    (tmp_path / "out" / "comparison.json").unlink()
    asked = prompts_asked(monkeypatch)
    again = compare("--methods", "default,scan,prompt")
    assert [method["scores"] for method in again["methods"][:2]] == [method["scores"] for method in whole["methods"]]
    assert again["methods"][0]["cost"] == whole["methods"][0]["cost"]  # its times were kept
    assert len(asked) == 1 + 5 + 8  # one to warm up, five missing ones, and the new method
    assert answers.read_text().startswith("".join(kept[:3]))


def test_what_was_compared_otherwise_is_not_mixed(
    compare: Callable[..., dict[str, Any]], run: Run, checkpoint: Make, options: list[str], tmp_path: Path
) -> None:
    compare("--methods", "scan")
    for model, more, words in (
        (checkpoint("qwen2"), [], "model"),
        (checkpoint("llama"), ["--max-new-tokens", "5"], "max_new_tokens 4, now 5"),
        (checkpoint("llama"), ["-s", "scan.threshold=0.5"], "'threshold': 0.5"),
        (checkpoint("llama"), ["--seed", "1"], "seed"),
    ):
        asked = [*options, *with_methods("scan"), *more]
        err = run.refused(words, "compare", model, "-o", tmp_path / "out", *asked)
        assert err.count("Error") == 1


def test_the_folder_of_another_command_is_not_written_into(
    run: Run, checkpoint: Make, options: list[str], sets: list[str], tmp_path: Path
) -> None:
    few = [*sets, "--max-new-tokens", "4", "--device", "cpu"]
    run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "out", *few)
    page = (tmp_path / "out" / "report.html").read_bytes()
    comparing = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *options, "--methods", "default"]
    run.refused("other settings (command 'evaluate', now 'compare')", *comparing)
    analyzing = ["analyze", "layers", checkpoint("llama"), "-o", tmp_path / "out", "--rank", "4"]
    run.refused("other settings (command 'evaluate', now 'analyze')", *analyzing)
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    made_by = tmp_path / "out" / "made_by.json"
    recorded = json.loads(made_by.read_text())
    made_by.write_text(json.dumps({name: recorded[name] for name in recorded if name != "command"}))
    run.ok("evaluate", checkpoint("llama"), "-o", tmp_path / "out", *few)  # of an earlier version
    run.refused("other settings (command 'evaluate', now 'compare')", *comparing)


@pytest.mark.usefixtures("few_prompts")
def test_an_analysis_is_not_written_into_the_folder_of_a_search(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path
) -> None:
    run.ok("search", checkpoint("llama"), "-o", tmp_path / "out", *search_options)
    analyzing = ["analyze", "layers", checkpoint("llama"), "-o", tmp_path / "out", "--rank", "4"]
    run.refused("other settings (command 'search', now 'analyze')", *analyzing)
    made_by = tmp_path / "out" / "made_by.json"
    recorded = json.loads(made_by.read_text())
    made_by.write_text(json.dumps({name: recorded[name] for name in recorded if name != "command"}))
    assert "finished already" in run.ok("search", checkpoint("llama"), "-o", tmp_path / "out", *search_options)[1]


def test_a_fit_that_was_selected_on_other_validation_prompts_is_not_used(
    compare: Callable[..., dict[str, Any]],
    run: Run,
    checkpoint: Make,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with --drop-overlaps, which leaves validation prompts out that are measured on."""
    compare("--methods", "scan")
    fewer = {
        name: prompt_set.sample(len(prompt_set) - 1, 0)
        for name, prompt_set in prompt_sets.validation_prompts(0).items()
    }
    monkeypatch.setattr(prompt_sets, "validation_prompts", lambda seed, beyond: fewer)
    asked = [*options, *with_methods("scan")]
    run.refused("validation", "compare", checkpoint("llama"), "-o", tmp_path / "out", *asked)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "magic"], "magic: no such method"),
        (["--methods", "json:dumps"], "json:dumps: is not a subclass"),
        (["--methods", "nowhere:Method"], "cannot be imported"),
        (["-s", "scan.threshold"], "write METHOD.SETTING=VALUE"),
        (["-s", "scan.threshold=2", "--methods", "scan"], "less than or equal to 1"),
        (["-s", "scan.color=red", "--methods", "scan"], "there is no setting 'color'"),
        (["-s", "skan.threshold=0.5", "--methods", "scan"], "skan: no such method. Did you mean scan?"),
        (["-s", "prosafeprune.plan=7"], "takes none. Give its plan with --layers"),
        (
            ["--methods", "prompt+prosafeprune", "-s", "prompt+prosafeprune.plan=7"],
            "takes system alone. Give its plan with --layers",
        ),
        (["--layers", "7"], "the model has 3 layers"),
        (["--pruned", "nowhere"], "--pruned nowhere: has no prosafeprune.json"),
        (["--layers", "1", "--choose", "2"], "choose is a plan of a search"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    run: Run,
    checkpoint: Make,
    sets: list[str],
    prompt_files: dict[str, str],
    tmp_path: Path,
    options: list[str],
    words: str,
) -> None:
    few = ["--max-new-tokens", "2", "--device", "cpu", "--methods", "prosafeprune"]
    few += [] if "--pruned" in options else ["--rank", "4"]
    own = prompt_options(prompt_files)
    run.refused(words, "compare", checkpoint("llama"), "-o", tmp_path / "out", *sets, *own, *few, *options)


def test_calibration_prompts_are_not_measured_on(
    run: Run, checkpoint: Make, options: list[str], sets: list[str], tmp_path: Path
) -> None:
    own = ["--harmful", tmp_path / "data" / "advbench.jsonl"]
    code, _, err = run("compare", checkpoint("llama"), "-o", tmp_path / "out", *options, *own)
    assert (code, "are in two sets that must be disjoint" in err) == (2, True)


def test_a_method_that_finds_nothing_is_left_out(compare: Callable[..., dict[str, Any]], checkpoint: Make) -> None:
    narrow = ["-s", "surgical.divergence=1e-12"]
    record = compare("--methods", "default,surgical", *narrow, model=checkpoint("gpt2"))
    assert [method["name"] for method in record["methods"]] == ["default"]
    assert "moves the answers to benign prompts" in record["left_out"]["surgical"]


def test_a_method_of_the_user_s_own_is_one_small_class(
    compare: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shouting.py").write_text(
        """
from functools import partial
from typing import ClassVar
from prosafeprune.baselines.method import Method
from prosafeprune.generation import LocalGenerator
from prosafeprune.generation.prompt_batches import ChatPromptBatches


class Shouting(Method):
    name: ClassVar[str] = "shouting"
    words: str = "ANSWER LOUDLY."

    def generator(self, loaded, batch_size, fitted):
        return LocalGenerator(loaded, batch_size, partial(ChatPromptBatches, system=self.words))
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    record = compare("--methods", "default,shouting:Shouting", "-s", "shouting:Shouting.words=SPEAK UP.")
    assert record["methods"][1]["settings"] == {"method": "shouting", "words": "SPEAK UP."}
    assert answers_in(tmp_path / "out" / "shouting") != answers_in(tmp_path / "out" / "default")
