"""The analysis job: what is kept, shared, drawn and rejected."""

from __future__ import annotations

import csv
import json
import shutil
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make, Run
from helpers.prune_runs import prune
from helpers.stored_records import stored_record
from helpers.tiny_models import make_model, make_tokenizer

import prosafeprune
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CATALOGUE, find_entries
from prosafeprune.analysis.figure_drawing import draw
from prosafeprune.analysis.layers_analysis import LayersAnalysis
from prosafeprune.analysis.probe_analysis import ProbeAnalysis
from prosafeprune.analysis.result import AnalysisResult
from prosafeprune.errors import InputError
from prosafeprune.evaluation import targets
from prosafeprune.jobs.analyze_tasks import FinishedAnalysis
from prosafeprune.method.plan import Plan, Pooling

FAST: dict[str, Any] = {"rank": 4, "benchmark_samples": 5, "batch_size": 8, "progress": False}
NAMES = [entry.name for entry in CATALOGUE if "answers" not in entry.needs and entry.name != "categories"]


@dataclass
class ComparedRun:
    """All analyses without answers, before and after."""

    output: Path
    finished: list[FinishedAnalysis]
    models_loaded: int


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture with other weights in one layer."""
    folder = tmp_path_factory.mktemp("pruned")
    model = make_model("qwen2")
    model.model.layers[1].mlp.gate_proj.weight.data.mul_(0.5)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, checkpoint: Make, pruned: Path) -> ComparedRun:
    output, alive = tmp_path_factory.mktemp("runs") / "out", []
    load_model = targets.load_model

    def load(*arguments: Any, **named: Any) -> Any:
        assert all(reference() is None for reference in alive), "two models in memory"
        loaded = load_model(*arguments, **named)
        alive.append(weakref.ref(loaded.model))
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "load_model", load)
        patch.setattr("prosafeprune.plotting.RESOLUTION", 30)
        settings = {**FAST, "samples": 10, "against": pruned}
        finished = prosafeprune.analyze(checkpoint("qwen2"), output, *NAMES, **settings)
    return ComparedRun(output, finished, len(alive))


def options(prompt_files: dict[str, str]) -> list[str]:
    given = {**{name.replace("_", "-"): file for name, file in prompt_files.items()}, "rank": 4, "batch-size": 8}
    flags = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [*flags, "--benchmark-samples", "5", "--only-mine"]


@pytest.mark.long
def test_every_figure_is_drawn_from_a_table_next_to_it(compared: ComparedRun, coarse_figures: None) -> None:
    assert [analysis.entry.name for analysis in compared.finished] == NAMES
    for analysis in compared.finished:
        assert analysis.folder == compared.output / analysis.entry.name
        assert AnalysisResult.model_validate_json((analysis.folder / "findings.json").read_text()) == analysis.result
        assert analysis.result.figures
        for table in analysis.result.tables:
            rows = list(csv.reader((analysis.folder / f"{table.name}.csv").read_text().splitlines()))
            assert rows[0] == list(table.columns)
            assert len(rows) == len(table.rows) + 1 > 1
        for figure in analysis.result.figures:
            drawn = draw(figure, analysis.result.table(figure.table))
            for ending, content in drawn.items():
                assert (analysis.folder / f"{figure.name}.{ending}").read_bytes() == content, (
                    "drawn from the table alone"
                )
            assert drawn["svg"].count(b"<path") > 10
            assert drawn["png"].startswith(b"\x89PNG")
        assert not list(analysis.folder.glob(".*partial"))


def test_the_record_and_the_page_of_a_run(compared: ComparedRun) -> None:
    record = json.loads((compared.output / "analysis.json").read_text())
    assert record["analyses"] == NAMES
    page = (compared.output / "report.html").read_text()
    assert page.count("<img") == sum(len(analysis.result.figures) for analysis in compared.finished)
    assert all(
        analysis.entry.title in page and analysis.result.tables[0].title in page for analysis in compared.finished
    )
    assert "analyze probe layers" in page
    assert record["model"]["model"] != record["against"]["model"]
    assert record["prompts"]["calibration harmful"]["count"] == 10


def test_finished_analyses_give_their_numbers_and_figures_in_python(compared: ComparedRun) -> None:
    (layers,) = [analysis for analysis in compared.finished if analysis.entry.name == "layers"]
    for table in layers.result.tables:
        frame = layers.to_pandas(table.name)
        assert list(frame.columns) == list(table.columns)
        assert len(frame) == len(table.rows) > 0
    assert layers.to_pandas().equals(layers.to_pandas(layers.result.tables[0].name))
    for figure in layers.result.figures:
        assert layers.plot(figure.name).get_suptitle()
    assert "tables" in repr(layers)
    assert len(repr(layers)) < 500
    assert layers._repr_html_().startswith("<table>")
    with pytest.raises(InputError, match="layers: table 'nonesuch': there is none. There are "):
        layers.rows("nonesuch")


def test_two_models_are_never_in_memory_together(compared: ComparedRun) -> None:
    assert compared.models_loaded == 2


@pytest.mark.usefixtures("no_figures")
def test_finished_work_is_not_done_again(
    tmp_path: Path, checkpoint: Make, pruned: Path, prompt_files: dict[str, str], monkeypatch: Any
) -> None:
    observed: list[tuple[str, bool]] = []

    def watch(kind: type[Analysis]) -> None:
        plain = kind.observe

        def observe(self: Any, context: Any, before: Any) -> Any:
            observed.append((kind.__name__, before is not None))
            if (kind, before is not None) in fails:
                raise InputError("on purpose")
            return plain(self, context, before)

        monkeypatch.setattr(kind, "observe", observe)

    fails = {(LayersAnalysis, True)}
    watch(ProbeAnalysis)
    watch(LayersAnalysis)
    output = tmp_path / "out"

    def run() -> Any:
        settings = {**FAST, **prompt_files, "only_mine": True, "against": pruned}
        return prosafeprune.analyze(checkpoint("qwen2"), output, "probe", "layers", **settings)

    with pytest.raises(InputError, match="on purpose"):
        run()
    both_before = [("ProbeAnalysis", False), ("LayersAnalysis", False)]
    assert observed == [*both_before, ("ProbeAnalysis", True), ("LayersAnalysis", True)]
    assert (output / "probe" / "findings.json").exists()
    assert not (output / "layers" / "findings.json").exists()
    observed.clear()
    fails.clear()
    (output / "probe" / "heatmap.svg").unlink()
    first = run()
    assert observed == [("LayersAnalysis", True)]
    assert (output / "probe" / "heatmap.svg").exists()
    observed.clear()
    loads: list[str] = []
    monkeypatch.setattr(targets, "load_model", lambda *_, **__: loads.append("loaded"))
    assert [analysis.result for analysis in run()] == [analysis.result for analysis in first]
    assert not observed and not loads


@pytest.mark.usefixtures("coarse_figures", "no_page_figures")
def test_equal_runs_give_equal_files(tmp_path: Path, checkpoint: Make, prompt_files: dict[str, str]) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        prosafeprune.analyze(checkpoint("qwen2"), folder, "layers", "energy", **FAST, **prompt_files, only_mine=True)
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.usefixtures("no_figures")
def test_the_command(tmp_path: Path, checkpoint: Make, prompt_files: dict[str, str], run: Run) -> None:
    command = ["analyze", "layers", checkpoint("gpt2"), "-o", tmp_path / "out", *options(prompt_files)]
    out, err = run.ok(*command, "--json")
    found = json.loads(out)["layers"]
    assert [table["name"] for table in found["tables"]] == ["peak", "layers", "submodules", "map"]
    assert "Separability of the prompt classes by layer, before: about" in err
    # GPT-2 has no gate: the submodule that separates the classes best is shown instead.
    assert json.loads((tmp_path / "out" / "layers" / "findings.json").read_text())["figures"][1]["title"].startswith(
        "t-SNE"
    )
    out, err = run.ok(*command)
    assert "The layer that separates the classes best" in out
    assert "about" not in err


def test_help_lists_the_analyses(run: Run) -> None:
    out, _ = run.ok("analyze", "--help")
    for entry in CATALOGUE:
        assert f"{entry.name}: " in out
        assert isinstance(entry.load(), Analysis)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prob", "{model}"], "prob: no such analysis. Did you mean probe? Choose from probe, layers"),
        (["{model}"], "Which analysis?"),
        (["probe", "{model}", "--all"], "probe: name analyses or run all with --all, not both."),
        (["layers", "{model}", "--layer", "3"], "--layer 3: the model has 3 layers, counted 0 to 2."),
        (["lens", "{model}", "--refusal-words", "sorry,cannot"], "None of sorry, cannot is a single token"),
        (["lens", "{model}", "--general", "nowhere.txt"], "--general: nowhere.txt: no such file"),
        (
            ["categories", "{model}"],
            "Cosines between categories need two categories of at least 4 pseudo-harmful prompts",
        ),
        (["layers", "{model}", "--against", "{other}"], "has other submodules than"),
        (["layers", "{missing}"], "no such folder or file"),
        (
            ["probe", "layers", "{model}", "--ranks", "2,4"],
            "--ranks: has no effect on probe, layers; it is for rank. Leave it out, or name one of these.",
        ),
        (["lens", "{model}", "--max-new-tokens", "9"], "--max-new-tokens: has no effect on lens; it is for rank"),
        (["layers", "{model}", "--general", "{missing}"], "--general: has no effect on layers; it is for lens."),
        (["layers", "{model}", "--rank", "500"], "Rank 500 needs at least 500 prompts of each class"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    checkpoint: Make,
    prompt_files: dict[str, str],
    run: Run,
) -> None:
    models = {"model": checkpoint("qwen2"), "other": checkpoint("gpt2"), "missing": tmp_path / "missing"}
    given = options(prompt_files)
    if "--rank" in words:
        given = given[: given.index("--rank")] + given[given.index("--rank") + 2 :]
    asked = [word.format(**models) for word in words]
    code, _, err = run("analyze", *asked, *given, "-o", tmp_path / "out")
    assert code == 2
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err


@pytest.mark.usefixtures("no_figures")
def test_a_folder_of_other_settings_is_not_resumed(
    tmp_path: Path, checkpoint: Make, prompt_files: dict[str, str], run: Run
) -> None:
    command = ["analyze", "layers", checkpoint("qwen2"), "-o", tmp_path / "out", *options(prompt_files)]
    assert run(*command)[0] == 0
    run.refused("was made with other settings (layer None, now 0)", *command, "--layer", "0")
    assert run(*command, "--layer", "0", "--overwrite")[0] == 0
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("x")
    code, _, err = run("analyze", "layers", checkpoint("qwen2"), "-o", foreign, "--overwrite")
    assert code == 2
    assert "was not written by prosafeprune" in err


def test_entries_are_in_the_order_of_the_catalogue() -> None:
    assert [entry.name for entry in find_entries(["lens", "probe"])] == ["probe", "lens"]
    assert find_entries([], everything=True) == list(CATALOGUE)


@pytest.mark.long
@pytest.mark.usefixtures("coarse_figures", "no_page_figures")
def test_another_plan_at_the_same_path_is_another_analysis(
    tmp_path: Path, checkpoint: Make, prompt_files: dict[str, str]
) -> None:
    base, output = checkpoint("qwen2"), tmp_path / "out"
    against = str(prune(base, tmp_path / "pruned", prompt_files).output)
    settings = {**FAST, **prompt_files, "only_mine": True, "against": against, "pooling": "tail"}
    prosafeprune.analyze(base, output, "energy", **settings)
    prosafeprune.analyze(base, output, "energy", **settings)
    record = json.loads((tmp_path / "pruned" / "prosafeprune.json").read_text())
    record["plan"]["layers"] = [0, 2]
    (tmp_path / "pruned" / "prosafeprune.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="was made with other settings .plan"):
        prosafeprune.analyze(base, output, "energy", **settings)


@pytest.mark.usefixtures("coarse_figures", "no_page_figures")
def test_activations_are_pooled_as_the_pruned_model_s_plan_has_it(
    tmp_path: Path, checkpoint: Make, pruned: Path
) -> None:
    searched = shutil.copytree(pruned, tmp_path / "searched")
    plan = Plan(layers=(1,), rank=4, pooling=Pooling.LAST).model_dump(mode="json")
    (searched / "prosafeprune.json").write_text(json.dumps(stored_record(plan=plan)))

    def pooling(name: str, **settings: Any) -> Any:
        output = tmp_path / f"{name}-{len(settings)}"
        prosafeprune.analyze(checkpoint("qwen2"), output, name, **FAST, samples=10, against=searched, **settings)
        return json.loads((output / name / "made_by.json").read_text())["pooling"]

    assert pooling("energy") == "last"
    assert pooling("energy", layers="1") == "sequence"
    assert pooling("layers") == "sequence"  # which shows no plan
    with pytest.raises(InputError, match="pruned with --pooling last"):
        pooling("energy", pooling="tail")
