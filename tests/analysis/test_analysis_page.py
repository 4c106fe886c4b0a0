"""Results on the page and in the terminal: summary first, rounded numbers, plan and judge in words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from helpers.pages import Reader, analysed, analysis_result
from rich.console import Console

from prosafeprune.analysis.analysis_page import analysis_page
from prosafeprune.analysis.catalogue import BY_NAME
from prosafeprune.analysis.result import AnalysisResult, Cell, cell_text, make_table, result_grid
from prosafeprune.cli.analyze import run
from prosafeprune.jobs.analyze import FinishedAnalysis
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Code, Facts, Page, Paragraph, Picture, Points, Section, render_page
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.parsing import validate_settings

RATES = make_table("rates", "Rates", ("step", "C.R.", "S.S.", "T.S."), [("base model", 10.0, 90.0, 50.0)])


def section(page: Page, title: str) -> Section:
    return next(one for one in page.sections if one.title == title)


def facts(page: Page) -> dict[str, str]:
    (block,) = section(page, "Plan").blocks
    assert isinstance(block, Facts)
    return dict(block.pairs)


def titles(page: Page) -> list[str]:
    return [one.title for one in page.sections]


def test_the_headline_is_the_first_sentence_of_each_summary() -> None:
    page = analysed({"probe": analysis_result(summary=["Harm is read in 0.54.", "More."]), "lens": analysis_result()})
    assert page.headline.label == "2 analyses"
    assert page.headline.sentences == [
        f"{BY_NAME['probe'].title}: Harm is read in 0.54.",
        f"{BY_NAME['lens'].title}.",  # no summary
    ]


def test_a_section_has_summary_then_tables_then_figures() -> None:
    page = analysed({"probe": analysis_result(summary=["First.", "How to read it."])})
    blocks = section(page, BY_NAME["probe"].title).blocks
    assert blocks[:2] == [Paragraph("First."), Paragraph("How to read it.")]
    assert [type(block) for block in blocks[3:]] == [Grid, Grid, Picture, Picture]


def test_a_table_that_a_figure_shows_is_named_in_its_caption() -> None:
    blocks = section(analysed({"probe": analysis_result()}), BY_NAME["probe"].title).blocks
    assert [len(block.rows) for block in blocks if isinstance(block, Grid)] == [3, 8]  # steps, others
    captions = [block.caption for block in blocks if isinstance(block, Picture)]
    assert captions == ["Numbers: probe/steps.csv", "Numbers: probe/layers.csv"]


def test_long_tables_are_named_only() -> None:
    page = analysed({"probe": analysis_result(rows=16)})
    blocks = section(page, BY_NAME["probe"].title).blocks
    assert len([block for block in blocks if isinstance(block, Grid)]) == 1
    (named,) = [block for block in blocks if isinstance(block, Points)]
    assert named.items == ["some words: probe/others.csv, 32 rows."]
    assert "Longer tables" not in Reader(render_page(analysed({"probe": analysis_result(rows=15)}))).text


def test_panels_are_stacked_on_the_page() -> None:
    page = analysed({"probe": analysis_result()})
    pictures = [block for one in page.sections for block in one.blocks if isinstance(block, Picture)]
    assert [picture.figure.get_size_inches()[0] for picture in pictures] == [5, 5]


def test_the_plan_is_described_where_there_is_one() -> None:
    plan = facts(
        analysed({"energy": analysis_result()}, layers="3,5", strength="0.5,1", rank=8, projection="contrastive")
    )
    assert plan == {
        "layers, counted from 0": "3, 5",
        "strength λ, by layer": "0.5, 1",
        "rank of each subspace": "8",
        "pooling of activations": "sequence: mean over all tokens of a prompt, template included",
        "projection": "contrastive: adds to harmful outputs a share of what pseudo-harmful ones lose",
    }
    assert titles(analysed({"energy": analysis_result()}))[0] == BY_NAME["energy"].title


def test_the_judge_is_named_where_answers_were_judged() -> None:
    rated = AnalysisResult(tables=(RATES,), figures=())
    page = analysed({"strength": rated}, layers=3, max_new_tokens=48)
    assert facts(page)["answers"] == "at most 48 tokens, judged by the built-in judge (builtin-9)"
    settings = {"judge": "wildguard", "judge_model": "/secret/folder/wildguard-7b"}
    assert facts(analysed({"strength": rated}, layers=3, **settings))["answers"].endswith("by WildGuard (wildguard-7b)")
    settings = {"judge": "qwen3guard"}
    assert facts(analysed({"strength": rated}, layers=3, **settings))["answers"].endswith("judged by Qwen3Guard")
    assert "answers" not in facts(analysed({"probe": analysis_result()}, layers=3))


def test_headlines_hold_no_local_path() -> None:
    page = analysed({"probe": analysis_result()}, against="/home/me/models/pruned-7b")
    assert "(pruned-7b)" in page.headline.text
    assert "/home/me" not in page.headline.text


def test_an_unreadable_plan_does_not_break_a_page_that_needs_none(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "prosafeprune.json").write_text("broken")
    assert titles(analysed({"probe": analysis_result()}, against=str(folder)))[0] == BY_NAME["probe"].title


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        ("word", "word"),
        (128, "128"),
        (0.0, "0"),
        (1.0, "1"),
        (0.9999999, "1"),
        (46.666666, "46.7"),
        (99.97, "100"),
        (1234.5678, "1235"),
        (-0.58413, "-0.584"),
        (0.001953125, "0.00195"),
        (0.000331, "0.0003"),
        (8.373e-05, "8e-05"),
    ],
)
def test_cells_are_rounded_for_people(cell: Cell, text: str) -> None:
    assert cell_text(cell) == text


def test_a_terminal_shows_results_without_reading_markup_in_them() -> None:
    evil = "[red]no colour[/red] [link=x]"
    found = analysis_result(evil, summary=[f"First {evil}.", f"Then {evil}."])
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    console.print(result_grid(found.tables[0], BY_NAME["probe"].title).terminal(100))
    assert stream.getvalue().count(evil) >= 4
    assert result_grid(found.tables[0], "C.R. and S.S.").caption == f"C.R. and S.S. {evil}"


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_the_summary_below_the_table(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analysis_result("A table", summary=["First [bold]so[/bold].", "Then."])
    finished = [FinishedAnalysis(BY_NAME["probe"], found, tmp_path)]
    monkeypatch.setattr("prosafeprune.jobs.analyze.run_analyze", lambda *_, **__: finished)
    request = validate_settings(AnalyzeRequest, {"model": "org/tiny"})
    run(request, [BY_NAME["probe"]], tmp_path, everything=False, overwrite=False, as_json=as_json)
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["probe"]["told"] == list(found.summary)
    else:
        assert out.index("A table") < out.index("First [bold]so[/bold].\nThen.\n")


def test_analyses_with_other_options_have_their_own_commands() -> None:
    few, many = (validate_settings(AnalyzeRequest, {"model": "org/tiny", "samples": count}) for count in (20, 30))
    entries = [(BY_NAME[name], analysis_result("A table")) for name in ("probe", "lens", "energy")]
    page = analysis_page(many, entries, "tiny", "1" * 64, {}, {"probe": few, "lens": many, "energy": few})
    commands = [block.text for block in page.sections[-1].blocks if isinstance(block, Code)]
    assert [one.split(" org/tiny")[0] for one in commands] == [
        "prosafeprune analyze probe energy",
        "prosafeprune analyze lens",
    ]
    assert "--samples 20" in commands[0] and "--samples 30" in commands[1]
