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
from helpers.json_lines import write_prompts
from helpers.pages import search_record

from prosafeprune.baselines.registry import METHODS
from prosafeprune.model.companions import companions_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.prompts import PromptClass, bundled_prompts
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
    few = ["--max-new-tokens", "2", "--device", "cpu", "--methods", "prosafeprune", "--rank", "4"]
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


@pytest.mark.long
def test_a_pruned_checkpoint_answers_as_it_does_by_itself(
    run: Run, checkpoint: Make, sets: list[str], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    own = prompt_options(prompt_files)
    pruning = [
        "--layers",
        "0-1",
        "--rank",
        "4",
        "--strength",
        "1",
        "--max-safety-drop",
        "100",
        "--accept-unsafe",
        "--device",
        "cpu",
    ]
    for name in ("phi3", "gpt2", "mixtral"):  # a fused matrix; other names on disk; experts
        pruned, model = tmp_path / f"pruned-{name}", checkpoint(name)
        run.ok("prune", model, "-o", pruned, *own, *pruning, "--max-new-tokens", "2")
        common = [*sets, "--max-new-tokens", "6", "--device", "cpu"]
        given = ["--methods", "default,prosafeprune", "--pruned", pruned, *own]
        out = tmp_path / f"compared-{name}"
        run.ok("compare", model, "-o", out, *common, *given)
        run.ok("evaluate", pruned, "-o", tmp_path / f"alone-{name}", *common)
        found = [answers_in(out / "prosafeprune"), answers_in(tmp_path / f"alone-{name}"), answers_in(out / "default")]
        assert found[0] == found[1] != found[2]
    code, _, err = run("compare", checkpoint("llama"), "-o", tmp_path / "wrong", *common, *given)
    assert (code, "was pruned from another model" in err) == (2, True)


def test_the_prompt_before_the_pruned_model_is_a_setting(compare: Callable[..., dict[str, Any]]) -> None:
    record = compare("--methods", "prompt+prosafeprune", "-s", "prompt+prosafeprune.system=Answer.")
    (method,) = record["methods"]
    assert (method["settings"]["system"], method["settings"]["plan"]["layers"]) == ("Answer.", [1])


def test_the_prompt_and_the_pruning_act_together(
    run: Run, checkpoint: Make, sets: list[str], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """Their answers are those of the pruned checkpoint behind the same system prompt, and no one's alone."""
    pruned, model, own = tmp_path / "pruned", checkpoint("llama"), prompt_options(prompt_files)
    plan = ["--layers", "0-1", "--rank", "4", "--strength", "1"]
    short = ["--max-new-tokens", "6", "--device", "cpu"]
    allowed = ["--max-safety-drop", "100", "--accept-unsafe", "--device", "cpu"]
    run.ok("prune", model, "-o", pruned, *own, *plan, *allowed, "--max-new-tokens", "2")
    methods = ["default", "prompt", "prosafeprune", "prompt+prosafeprune"]
    said = [word for name in ("prompt", "prompt+prosafeprune") for word in ("-s", f"{name}.system=Answer briefly.")]
    run.ok(
        "compare", model, "-o", tmp_path / "compared", *sets, *short, *own, *plan, "--methods", ",".join(methods), *said
    )
    run.ok("evaluate", pruned, "-o", tmp_path / "alone", *sets, *short, "--system", "Answer briefly.")
    found = [answers_in(tmp_path / "compared" / name) for name in methods]
    assert found[3] == answers_in(tmp_path / "alone")
    assert all(found[3] != other for other in found[:3])


def test_what_a_pruned_checkpoint_was_calibrated_on_is_not_measured(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    model, pruned, few = checkpoint("llama"), tmp_path / "pruned", ["--layers", "1", "--rank", "4"]
    short = ["--max-new-tokens", "2", "--device", "cpu"]
    run.ok("prune", model, "-o", pruned, *few, "--max-safety-drop", "100", "--accept-unsafe", *short)
    measured = tmp_path / "measured.jsonl"
    write_prompts(measured, bundled_prompts(PromptClass.PSEUDO_HARMFUL, "calibration").texts[:2])
    given = ["--methods", "default,prosafeprune", "--pruned", pruned, "--test-pseudo-harmful", measured]
    own = [*prompt_options(prompt_files), "--only-mine"]  # what the comparison itself calibrates on
    run.refused("must be disjoint", "compare", model, "-o", tmp_path / "out", *given, *own, *short)


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


def test_a_plan_is_searched_for_when_none_is_given(
    run: Run,
    checkpoint: Make,
    sets: list[str],
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = prompt_options(prompt_files)
    few = [
        "--max-new-tokens",
        "2",
        "--device",
        "cpu",
        "--methods",
        "default,prosafeprune",
        "--max-safety-drop",
        "100",
        "--accept-unsafe",
    ]
    short = ["--budget", "2", "--confirmations", "1", "--rank", "4"]
    command = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *sets, *own, *few, *short, "--json"]
    out, _ = run.ok(*command)
    record = json.loads(out)
    search = json.loads((tmp_path / "out" / "search" / "search.json").read_text())
    if search["chosen"] is None:
        assert "found no plan" in record["left_out"]["prosafeprune"]
    else:
        assert record["methods"][1]["settings"]["plan"] == search["points"][search["chosen"] - 1]["plan"]
    no_model(monkeypatch)
    assert json.loads(run(*command)[1]) == record
    run.refused("found with other settings (rank)", *command, "--rank", "5")
    longer = [*command, "--budget", "3"]
    run.refused("found with other settings (budget, confirmations)", *longer, "--confirmations", "2")
    (tmp_path / "out" / "search" / "finished.json").unlink()  # of an earlier version
    assert json.loads(run(*longer)[1])["methods"] == record["methods"]


def test_a_search_that_is_not_there_is_missed_before_anything_is_measured(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(monkeypatch)
    missing, common = tmp_path / "missing", options[: options.index("--layers")]
    command = ["compare", checkpoint("llama"), "-o", tmp_path / "out", *common, "--methods"]
    code, _, err = run(*command, "default,prosafeprune", "--search", missing)
    assert code == 2
    assert "has no finished search" in err


def test_a_named_search_brings_its_own_rank(
    run: Run, checkpoint: Make, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, found = checkpoint("llama"), search_record()
    hashes = {"model": model_hash(base), "companions": companions_hash(base)}
    command = ["compare", base, *options[: options.index("--layers")], "--methods", "default,prosafeprune"]
    for rank in (4, 11):  # of each class, ten prompts are calibrated on
        plan = found.points[0].plan.model_copy(update={"rank": rank})
        points = [found.points[0].model_copy(update={"plan": plan})]
        made = found.model_copy(update={"made_by": hashes, "points": points, "chosen": 1})
        folder = tmp_path / f"search-{rank}"
        folder.mkdir()
        (folder / "search.json").write_text(made.model_dump_json())
    run.ok(*command, "-o", tmp_path / "out", "--search", tmp_path / "search-4")
    no_model(monkeypatch)
    run.refused("its plan has rank 11", *command, "-o", tmp_path / "out", "--search", tmp_path / "search-11")
