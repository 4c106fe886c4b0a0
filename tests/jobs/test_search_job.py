"""The search from the command line, on a tiny model whose answers a rigged judge tells apart by their length."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.fixture_types import Make, Run
from safetensors.torch import load_file

from prosafeprune.jobs import search as searching
from prosafeprune.jobs import search_trials as trials
from prosafeprune.plan_search.plan_evaluators import LocalPlanEvaluator
from prosafeprune.plan_search.scoring import PlanScorer
from prosafeprune.requests.recipe import make_recipe


@pytest.mark.usefixtures("few_prompts")
def test_search_keeps_a_table_a_figure_and_numbers_and_no_model(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path
) -> None:
    out, err = run.ok("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options)
    assert "Plans to choose from" in out
    assert "--choose" in err
    kept = {path.name for path in (tmp_path / "search").iterdir()}
    assert kept >= {"search.json", "frontier.svg", "frontier.png", "plans.csv", "measured.json", "made_by.json"}
    assert "report.html" in kept
    assert not any(name.endswith(".safetensors") for name in kept)
    record = json.loads((tmp_path / "search" / "search.json").read_text())
    assert record["silhouettes"] == {}
    assert record["trials"] == 4
    measured = sum(point["measured"] is not None for point in record["points"])
    assert 2 <= measured <= 5  # the first windows, and the best two others by short answers
    assert {point["plan"]["projection"] for point in record["points"]} == {"contrastive"}
    assert {point["plan"]["rank"] for point in record["points"]} == {4}


@pytest.mark.parametrize(
    ("folder", "message"), [("file/in", "cannot be written to"), ("others", "was not written by prosafeprune")]
)
def test_a_folder_that_cannot_hold_a_search_is_refused_before_the_model_is_loaded(
    folder: str,
    message: str,
    run: Run,
    checkpoint: Make,
    search_options: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.load_run", lambda *_: pytest.fail("loaded all the same"))
    (tmp_path / "file").touch()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "notes.txt").touch()
    code, _, err = run("search", checkpoint("llama"), "-o", tmp_path / folder, *search_options)
    assert (code, message in err) == (2, True)
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("few_prompts")
def test_a_finished_search_is_read_not_repeated(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options)
    first = (tmp_path / "search" / "search.json").read_bytes()
    measured: list[int] = []
    measure = PlanScorer.measure

    def count(self: PlanScorer, edits: Any) -> Any:
        measured.append(len(edits))
        return measure(self, edits)

    def no_score(*_: object) -> None:
        raise AssertionError("a plan was scored again")

    monkeypatch.setattr(LocalPlanEvaluator, "score", no_score)
    monkeypatch.setattr(PlanScorer, "measure", count)
    assert run("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options)[0] == 0
    assert measured == []  # no plan is measured again
    assert (tmp_path / "search" / "search.json").read_bytes() == first


@pytest.mark.usefixtures("few_prompts")
def test_a_search_that_is_finished_with_more_trials_is_not_run_again(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ["-o", tmp_path / "search", *search_options]
    run.ok("search", checkpoint("llama"), *folder)
    monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.load_run", lambda *_: pytest.fail("loaded all the same"))
    _, err = run.ok("search", checkpoint("llama"), *folder, "--budget", 3)
    assert "finished already" in err
    assert json.loads((tmp_path / "search" / "finished.json").read_text())["budget"] == "4"


@pytest.mark.parametrize(
    ("done", "wanted", "enough"),
    [
        ("8", "8", True),
        ("20", "8", True),
        ("8", "20", False),
        ("1h", "8", False),
        ("8", "1h", False),
        ("60m", "1h", True),
        ("1h", "2h", False),
        ("x", "8", False),
    ],
)
def test_when_a_budget_is_as_large(done: str, wanted: str, enough: bool) -> None:
    assert searching.is_done(done, wanted) is enough


@pytest.mark.usefixtures("few_prompts")
def test_a_plan_that_is_made_from_other_prompts_than_in_its_search_is_a_warning(
    run: Run, checkpoint: Make, search_options: list[object], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    own, more = [*search_options, "--samples", 9], tmp_path / "more.jsonl"
    run.ok("search", checkpoint("llama"), "-o", tmp_path / "search", *own)
    chosen = ["prune", checkpoint("llama"), "--search", tmp_path / "search", "--choose", 1, "--dry-run"]
    more.write_text(Path(prompt_files["harmful"]).read_text().replace("scams", "frauds"))
    for changed, named in (
        ([], ""),
        (["--samples", 8], ""),  # as of a draft's plan
        (["--harmful", more], "with other calibration prompts,"),
        (["--system", "Be kind."], "with other --system,"),
    ):
        _, err = run.ok(*chosen, *own, *changed)
        assert ("its rates are not of the edits" in err) is bool(named)
        assert named in " ".join(err.split())


@pytest.mark.usefixtures("few_prompts")
def test_the_folder_of_another_search_is_refused_before_the_model_is_loaded(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "search", [*search_options, "--max-new-tokens", 4]
    run.ok("search", checkpoint("llama"), "-o", folder, *search_options)
    for job in ("calibrated_plan", "prune"):
        monkeypatch.setattr(f"prosafeprune.jobs.{job}.load_run", lambda *_: pytest.fail("loaded all the same"))
    run.refused(
        "was made with other settings (max_new_tokens 3, now 4", "search", checkpoint("llama"), "-o", folder, *other
    )
    for more in ([], ["--dry-run"]):
        run.refused("max_new_tokens 3, now 4", "prune", checkpoint("llama"), "--search", folder, *other, *more)


@pytest.mark.long
@pytest.mark.usefixtures("few_prompts")
def test_prune_without_layers_searches_and_another_point_can_be_made_without_searching(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "select_point", lambda *_: 1)
    (tmp_path / "out-search").mkdir()
    folder = ["--search", tmp_path / "out-search"]
    out, _ = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", *folder, *search_options)
    assert "Plans to choose from" in out
    record = json.loads((tmp_path / "out-search" / "search.json").read_text())
    made = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    assert made["plan"] == record["points"][0]["plan"]

    def no_search(*_: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.search", no_search)
    last = len(record["points"])
    choice = ["--search", tmp_path / "out-search", "--choose", last]
    run.ok("prune", checkpoint("llama"), "-o", tmp_path / "other", *choice, *search_options)
    assert json.loads((tmp_path / "other" / "prosafeprune.json").read_text())["plan"] == record["points"][-1]["plan"]
    choice[-1] = 1
    assert run("prune", checkpoint("llama"), "-o", tmp_path / "again", *choice, *search_options)[0] == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.usefixtures("few_prompts")
def test_experts_of_a_mixture_are_pruned(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "select_point", lambda *_: 1)
    run.ok("prune", checkpoint("mixtral"), "-o", tmp_path / "out", *search_options)
    made = json.loads((tmp_path / "out" / "prosafeprune.json").read_text())
    assert made["plan"]["projection"] == "contrastive"
    assert [layer["layer"] for layer in made["experts"]] == made["plan"]["layers"]
    assert sum(layer["pruned"] for layer in made["experts"]) > 0


@pytest.mark.usefixtures("few_prompts")
def test_the_papers_strategy_looks_for_the_peak_without_experts(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    silhouettes = searching.silhouettes

    def watched(inputs: Any, submodules: Any, *others: Any) -> Any:
        looked_at.extend(submodule.kind for submodule in submodules if submodule.expert is None)
        assert not any(submodule.expert is not None for submodule in submodules)
        return silhouettes(inputs, submodules, *others)

    monkeypatch.setattr(searching, "silhouettes", watched)
    paper = ["--strategy", "paper", "--budget", 1]
    run.ok("search", checkpoint("mixtral"), "-o", tmp_path / "search", *search_options, *paper)
    assert looked_at == ["q", "k", "v", "o"] * 3
    page = (tmp_path / "search" / "report.html").read_text()
    assert "plans were measured on validation prompts" in page and "were estimated" not in page


@pytest.mark.usefixtures("few_prompts")
def test_no_plan_that_helps_is_told_and_nothing_is_written(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "select_point", lambda *_: None)
    code, _, err = run("prune", checkpoint("llama"), "-o", tmp_path / "out", *search_options)
    assert code == 3
    assert "No plan was found" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few_prompts")
def test_a_search_folder_that_is_not_there_is_one_line_and_nothing_is_searched(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.jobs.prune.load_run", lambda *_: pytest.fail("loaded all the same"))
    missing = tmp_path / "mistyped"
    run.refused("there is no search", "prune", checkpoint("llama"), "--search", missing, *search_options)
    assert not missing.exists()


@pytest.mark.usefixtures("few_prompts")
def test_where_a_loss_of_safety_could_not_show_nothing_is_searched(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "search_plans", lambda *_: pytest.fail("searched all the same"))
    floor = ["--max-safety-drop", 99.9]
    code, _, err = run("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options, *floor)
    assert (code, "could not be detected" in " ".join(err.split())) == (3, True)


@pytest.mark.parametrize(("safety", "drop", "warned"), [(40.0, 3.0, True), (60.0, 3.0, False), (40.0, 100.0, False)])
def test_a_base_model_that_may_not_pass_the_floor_is_named_before_the_search(
    safety: float, drop: float, warned: bool
) -> None:
    said: list[str] = []
    recipe = make_recipe(model="org/name", max_safety_drop=drop, accept_unsafe=drop == 100)
    search: Any = SimpleNamespace(recipe=recipe, reporter=SimpleNamespace(warning=said.append))
    rates: Any = SimpleNamespace(safety_score=safety)
    assert searching._Search._lowest_safety(search, rates) == safety - drop
    assert [("40.0 %" in text, "no pruned model will be saved" in text) for text in said] == [(True, True)] * warned


@pytest.mark.usefixtures("few_prompts")
def test_a_search_of_another_kind_is_not_gone_on_with(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path
) -> None:
    run("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options)
    code, _, err = run("search", checkpoint("qwen2"), "-o", tmp_path / "search", *search_options)
    assert (code, "was made with other settings" in " ".join(err.split())) == (2, True)
    assert "--overwrite" not in err  # search has no such option, and that of prune is for the model
    code, _, err = run("prune", checkpoint("qwen2"), "--search", tmp_path / "search", "--choose", 1, *search_options)
    assert (code, "on another model" in err) == (2, True)
    code, _, err = run("prune", checkpoint("llama"), "--search", tmp_path / "search", "--choose", 99, *search_options)
    assert (code, "points 1 to" in err) == (2, True)
    code, _, err = run("prune", checkpoint("llama"), "--search", tmp_path / "none", "--choose", 1, *search_options)
    assert (code, "no finished search" in err) == (2, True)


@pytest.mark.usefixtures("few_prompts")
def test_a_search_in_the_cache_is_found_under_another_name_of_the_model(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "another-name"
    link.symlink_to(checkpoint("llama"))
    run.refused("is finished. Run prosafeprune search first", "prune", link, "--choose", 1, *search_options)
    run.ok("search", checkpoint("llama"), *search_options)
    monkeypatch.setattr("prosafeprune.jobs.calibrated_plan.search", lambda *_: pytest.fail("searched again"))
    run.ok("search", link, *search_options)
    run.ok("prune", link, "--choose", 1, *search_options)


@pytest.mark.usefixtures("few_prompts")
def test_the_papers_strategy_measures_as_many_windows_as_the_budget_says_in_all_its_runs(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path
) -> None:
    for budget in (3, 4):
        paper = ["--strategy", "paper", "--budget", budget]
        run.ok("search", checkpoint("llama"), "-o", tmp_path / "search", *search_options, *paper)
    record = json.loads((tmp_path / "search" / "search.json").read_text())
    layers = [point["plan"]["layers"] for point in record["points"]]
    assert sorted(map(len, layers)) == [1, 1, 2, 2]
    assert {point["plan"]["projection"] for point in record["points"]} == {"orthogonal"}
    best = max(point["measured"]["compliance_rate"] + point["measured"]["safety_score"] for point in record["points"])
    chosen = record["points"][record["chosen"] - 1]["measured"]
    assert chosen["compliance_rate"] + chosen["safety_score"] == best
