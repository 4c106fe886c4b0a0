"""All analyses in one run: shared work is done once, a failure stops no other analysis, finished work is kept."""

from __future__ import annotations

import json
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from helpers.analysis_fixtures import Answered
from helpers.fixture_types import Make, Run
from helpers.sweep_context import TIMED, make_context, make_request

from prosafeprune.analysis import context as context_module
from prosafeprune.analysis.base import Analysis
from prosafeprune.analysis.catalogue import CATALOGUE, find_entries
from prosafeprune.analysis.energy_analysis import EnergyAnalysis
from prosafeprune.analysis.layers_analysis import LayersAnalysis
from prosafeprune.analysis.probe_analysis import ProbeAnalysis
from prosafeprune.analysis.sweep_analyses import OperatorAnalysis, StrengthAnalysis
from prosafeprune.analysis.time_estimate import Workload
from prosafeprune.errors import InputError
from prosafeprune.jobs.analyze import FailedAnalysesError, run_analyze

pytestmark = pytest.mark.usefixtures("odd_judge", "no_figures")
WITH_ANSWERS = [entry.name for entry in CATALOGUE if "answers" in entry.needs]
FEW = ["--rank", 4, "--samples", 40, "--benchmark-samples", 4, "--sweep-samples", 2, "--max-new-tokens", 3]
PLAN = ["--layers", 1, "--strength", 0.8, "--strengths", "0.4,0.8", "--ranks", "2,4"]
TUNING = ["--ability", "gsm8k", "--ability-tokens", 3, "--tuning-prompts", 16, "--tuning-epochs", 1]


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Number of times each collection ran."""
    counts: Counter[Any] = Counter()
    for name in ("collect_inputs", "collect_last_states"):
        plain = getattr(context_module, name)

        def collect(*given: Any, plain: Any = plain, name: str = name, **named: Any) -> Any:
            prompts = given[2]
            texts = [prompt_set.texts for prompt_set in prompts.values()] if isinstance(prompts, dict) else prompts
            counts[name, str([getattr(encoded, "ids", encoded) for encoded in texts])] += 1
            return plain(*given, **named)

        monkeypatch.setattr(context_module, name, collect)
    return counts


def lines(output: Path) -> list[tuple[str, str]]:
    """All saved answers: the condition's folder, and the line."""
    files = [*output.glob("answers/*/answers.jsonl"), *output.glob("answers/*/ability*.jsonl")]
    return [(file.parent.name, line) for file in files for line in file.read_text().splitlines()]


def warnings(err: str) -> list[str]:
    return [line.removeprefix("Warning: ") for line in err.splitlines() if line.startswith("Warning: ")]


@pytest.mark.long
def test_all_analyses_in_one_run(
    checkpoint: Make, questions: Path, tmp_path: Path, run: Run, answered: Answered, collected: Counter[Any]
) -> None:
    output = tmp_path / "out"
    command = ["analyze", checkpoint("qwen2"), "--all", "-o", output, *FEW, *PLAN, *TUNING, "--data-dir", questions]
    code, out, err = run(*command, "--refusal-words", "sorry")
    names = [entry.name for entry in CATALOGUE if entry.name != "lens"]

    # A failure is reported at once and at the end; the others are finished, in the record and on the page.
    assert code == 2
    assert [line.split(":")[0] for line in warnings(err)] == ["lens"], err
    error = next(line for line in err.splitlines() if line.startswith("Error: "))
    assert error.startswith("Error: lens: None of sorry is a single token")
    assert error.endswith(f"Finished: {', '.join(names)}.")
    assert err.index("Warning: lens") < err.index("C.R., S.S. and T.S. by strength, before")
    assert json.loads((output / "analysis.json").read_text())["analyses"] == names
    assert not (output / "lens" / "findings.json").exists()
    page = unescape((output / "report.html").read_text())
    assert all((entry.title in page) == (entry.name != "lens") for entry in CATALOGUE)
    assert all(entry.name in names for entry in CATALOGUE if entry.title in out)
    assert "11 analyses, before: about" in err.split("Harmfulness by layer, from linear probes, before")[0]

    # Shared work is done once. The states of the last token are collected class by class.
    assert set(collected.values()) == {1}
    assert Counter(name for name, _ in collected) == {"collect_inputs": 2, "collect_last_states": 3}
    kept = lines(output)
    assert len(set(kept)) == len(kept) == len(answered) - TIMED
    # Base model, plan, another strength, another rank; five groups, one operator, two other depths; tuned.
    assert len({folder for folder, _ in kept}) == 4 + 5 + 1 + 2 + 1

    collected.clear()
    done = len(answered)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    code, again, err = run(*command, "--refusal-words", "sorry")
    assert (code, again) == (2, out)
    assert not collected and len(answered) == done
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before

    # With its option corrected, only that analysis runs.
    code, _, err = run(*command)
    assert code == 0 and not warnings(err)
    assert Counter(name for name, _ in collected) == {"collect_last_states": 3} and len(answered) == done
    assert json.loads((output / "analysis.json").read_text())["analyses"] == [entry.name for entry in CATALOGUE]


def test_without_a_plan_the_others_run(checkpoint: Make, tmp_path: Path, run: Run, answered: Answered) -> None:
    _, err = run.ok("analyze", checkpoint("qwen2"), "--all", "-o", tmp_path / "out", *FEW[:6], "--samples", 12)
    left_out = [line.split(". ")[0] for line in warnings(err)]
    assert left_out == ["Left out: categories", f"Left out: {', '.join(WITH_ANSWERS)}"]
    assert "--layers" in err and "--samples" in err
    record = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert record["analyses"] == ["probe", "layers", "lens", "rank", "energy"]
    assert not answered


def inside(model: Path, **settings: Any) -> Any:
    """A request for analyses that generate no answers."""
    return make_request(model, **{**dict.fromkeys(("max_new_tokens", "sweep_samples")), **settings})


def test_without_questions_the_others_run(checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = make_request(checkpoint("qwen2"), data_dir=tmp_path)
    warned = Warned(monkeypatch)
    entries = find_entries(["energy", "alignment-tax"])
    finished = run_analyze(request, entries, tmp_path / "out", everything=True)
    assert [analysis.entry.name for analysis in finished] == ["energy"]
    assert [line for line in warned if "alignment-tax" in line and "mmlu_dev.jsonl" in line]
    with pytest.raises(InputError, match="No analysis is left"):
        run_analyze(request, entries[1:], tmp_path / "none", everything=True)
    with pytest.raises(InputError, match=r"has no mmlu_dev\.jsonl"):  # named, it must be possible
        run_analyze(request, entries, tmp_path / "none")


class Warned(list[str]):
    """The warnings of a run without a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        monkeypatch.setattr("prosafeprune.progress.SilentReporter.warning", lambda _, text: self.append(text))


def test_an_unusable_second_model_fails_only_the_comparisons(checkpoint: Make, tmp_path: Path) -> None:
    request = inside(checkpoint("qwen2"), against=str(checkpoint("gpt2")))
    with pytest.raises(FailedAnalysesError, match="layers: .*has other submodules.* Finished: energy") as failed:
        run_analyze(request, find_entries(["layers", "energy"]), tmp_path / "out")
    assert [analysis.entry.name for analysis in failed.value.finished] == ["energy"]
    assert json.loads((tmp_path / "out" / "analysis.json").read_text())["analyses"] == ["energy"]
    assert (tmp_path / "out" / "layers" / "before.npz").exists()


def test_when_all_fail_alike_the_error_is_reported_once(checkpoint: Make, tmp_path: Path) -> None:
    request = inside(checkpoint("qwen2"), layers=(7,))
    with pytest.raises(InputError, match="^--layers 7: the model has 3 layers"):
        run_analyze(request, find_entries(["layers", "energy"]), tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_an_interrupt_stops_at_once(checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    def observe(*_: Any) -> None:
        raise AssertionError("continued")

    monkeypatch.setattr(LayersAnalysis, "observe", interrupt)
    monkeypatch.setattr(EnergyAnalysis, "observe", observe)
    with pytest.raises(KeyboardInterrupt):
        run_analyze(inside(checkpoint("qwen2")), find_entries(["layers", "energy"]), tmp_path / "out")
    assert not (tmp_path / "out" / "analysis.json").exists()


def test_a_folder_depends_on_the_splits_of_its_analysis(checkpoint: Make, tmp_path: Path) -> None:
    def asked(**settings: Any) -> Any:
        return inside(checkpoint("qwen2"), layers=None, strength=0.5, **settings)

    general = tmp_path / "general.txt"
    general.write_text("How tall is an oak?\nName a river.\n")
    names, output = ["energy", "probe", "lens"], tmp_path / "out"
    run_analyze(asked(benchmark_samples=4), find_entries(names), output)
    with pytest.raises(FailedAnalysesError) as failed:
        run_analyze(asked(benchmark_samples=5), find_entries(names), output)
    assert [analysis.entry.name for analysis in failed.value.finished] == ["energy"]
    with pytest.raises(
        FailedAnalysesError, match="lens: .*was made with other settings .general prompts None"
    ) as failed:
        run_analyze(asked(benchmark_samples=4, general=str(general)), find_entries(names), output)
    assert [analysis.entry.name for analysis in failed.value.finished] == ["probe", "energy"]


@pytest.mark.parametrize(("name", "settings"), [("strength", {"strengths": (0.8,)}), ("rank", {"ranks": (2,)})])
def test_rates_by_another_judge_behind_the_same_settings_are_not_shown_again(
    name: str, settings: dict[str, Any], checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Served:
        name = "llm:first"

    monkeypatch.setattr("prosafeprune.jobs.analyze.make_judge", lambda *_: Served)
    request = make_request(checkpoint("qwen2"), judge="llm", judge_endpoint="http://h/v1", **settings)
    run_analyze(request, find_entries([name]), tmp_path / "out")
    run_analyze(request, find_entries([name]), tmp_path / "out")
    Served.name = "llm:second"
    with pytest.raises(FailedAnalysesError, match="other settings .judged_by 'llm:first', now 'llm:second'"):
        run_analyze(request, find_entries([name]), tmp_path / "out")
    made_by = tmp_path / "out" / name / "made_by.json"
    made_by.write_text(json.dumps({**json.loads(made_by.read_text()), "judged_by": "llm:second"}))
    run_analyze(request, find_entries([name]), tmp_path / "out")


def test_other_categories_of_the_same_prompts_are_another_analysis(checkpoint: Make, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"

    def analyzed(categories: str) -> Any:
        rows = [{"prompt": f"How do I kill process {n * n}?", "category": categories[n % 2]} for n in range(12)]
        file.write_text("\n".join(map(json.dumps, rows)))
        unset = dict.fromkeys(("layers", "strength", "max_new_tokens", "sweep_samples"))
        request = make_request(checkpoint("qwen2"), **unset, pseudo_harmful=[str(file)], only_mine=True)
        return run_analyze(request, find_entries(["categories"]), tmp_path / "out")[0].result.table("categories").rows

    assert {row[0] for row in analyzed("ab")} == {"a", "b"}
    with pytest.raises(FailedAnalysesError, match="was made with other settings .categories"):
        analyzed("ac")


def test_the_record_has_the_origin_of_each_analysis(checkpoint: Make, tmp_path: Path) -> None:
    def record(name: str, **settings: Any) -> Any:
        request = (inside if name == "energy" else make_request)(checkpoint("qwen2"), **settings)
        run_analyze(request, find_entries([name]), tmp_path / "out")
        return json.loads((tmp_path / "out" / "analysis.json").read_text())

    first = record("energy", rank=3, layers=None, strength=0.5)
    assert set(first["prompts"]) == {f"calibration {prompts}" for prompts in ("benign", "harmful", "pseudo-harmful")}
    second = record("strength", strengths=(0.8,))
    assert second["prompts"]["validation harmful"]["count"] == 4  # --sweep-samples
    assert (second["request"]["rank"], second["analyses"]) == (4, ["energy", "strength"])
    assert second["made"]["energy"] == first["made"]["energy"]
    assert second["made"]["energy"]["request"]["rank"] == second["made"]["energy"]["made_by"]["rank"] == 3
    assert second["made"]["strength"]["request"]["strengths"] == [0.8]
    assert not [name for name in second["made"]["energy"]["made_by"] if "test" in name or "validation" in name]


def test_estimates_count_shared_work_once(checkpoint: Make, tmp_path: Path) -> None:
    context = make_context(checkpoint("qwen2"), tmp_path / "answers")
    context.speed.__dict__.update(seconds_per_pass=1.0, seconds_per_answer=1000.0)

    def seconds(*analyses: Analysis) -> float:
        return context.speed.seconds(sum((analysis.workload(context) for analysis in analyses), Workload()))

    alone = seconds(StrengthAnalysis())
    assert alone == 36 + 6 * 8 * 1000  # the base model and five strengths
    # The plan itself is one of the strengths.
    assert seconds(StrengthAnalysis(), OperatorAnalysis(), StrengthAnalysis()) == alone + 8 * 1000
    assert seconds(StrengthAnalysis()) == alone
    own = seconds(ProbeAnalysis()) + seconds(LayersAnalysis())
    assert seconds(ProbeAnalysis(), LayersAnalysis()) == pytest.approx(own - 36)


def test_prompt_processing_is_not_counted_as_generation(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = make_context(checkpoint("qwen2"), tmp_path / "answers", max_new_tokens=101).speed
    monkeypatch.setattr(speed, "_time_answers", lambda prompts, tokens: 5.0 + 0.25 * tokens)
    assert speed.seconds_per_answer == pytest.approx(5.0 + 0.25 * 101)
