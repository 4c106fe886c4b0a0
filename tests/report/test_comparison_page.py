"""The page of a comparison: the best method that keeps S.S. first, a line for each, the plan and how to use it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import Reader, compared, compared_record, measurement

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import change
from prosafeprune.method.plan import Plan
from prosafeprune.report.comparison_grids import comparison_markdown, rates_by_method
from prosafeprune.report.comparison_page import comparison_headline, trade_off_figure
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Code, Facts, Page, Section, render_page
from prosafeprune.requests.apply import ApplyRequest

PLAN = Plan(layers=(6, 14), rank=8, strength=(0.45, 0.8), pooling="tail", projection="contrastive")
DEFAULT, BETTER, UNSAFE = measurement(40, 90), measurement(60, 90), measurement(99, 60)
PRUNED: dict[str, Any] = {"settings": {"prosafeprune": {"plan": PLAN.model_dump(mode="json")}}}


def section(page: Page, title: str) -> Section:
    return next(section for section in page.sections if section.title == title)


def titles(page: Page) -> list[str]:
    return [section.title for section in page.sections]


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (
            {"default": DEFAULT, "prosafeprune": measurement(60, 86), "scan": measurement(50, 90)},
            "prosafeprune has the highest Avg. T.S., 73.0, with no significant loss of S.S. from default "
            "(−4.0 points, p = 0.12).",
        ),
        (
            {"default": DEFAULT, "prosafeprune": BETTER, "surgical": UNSAFE},
            "prosafeprune has the highest Avg. T.S., 75.0, of the methods with no significant loss of S.S. from "
            "default (0.0 points, p = 1). Higher, but with a loss of S.S.: surgical (79.5).",
        ),
        (
            {"default": DEFAULT, "surgical": UNSAFE},
            "No method has a higher Avg. T.S. than default (65.0) and keeps its S.S. Higher, but with a loss of "
            "S.S.: surgical (79.5).",
        ),
        (
            {"scan": BETTER, "surgical": UNSAFE},
            "surgical has the highest Avg. T.S., 79.5. Whether it keeps its S.S. is unknown: default was not measured.",
        ),
        (
            {"default": Measurement(DEFAULT.sets[:1])},
            "Without both pseudo-harmful and harmful prompts, no method can be called the best.",
        ),
    ],
)
def test_the_headline_names_the_best_that_keeps_safety(measured: dict[str, Measurement], text: str) -> None:
    assert compared(measured).headline.text == text


def test_each_method_has_one_short_line() -> None:
    page = compared(
        {"default": DEFAULT, "surgical": UNSAFE, "scan": measurement(20, 30)}, left_out={"odd": "It found nothing."}
    )
    assert page.headline.sentences == [
        "default: Avg. T.S. 65.0, answers 40 of 100 harmless requests, refuses 90 of 100 harmful ones.",
        "surgical: Avg. T.S. 79.5, answers 99 of 100 harmless requests (+59.0 points, p < 0.0001), refuses 60 of 100 "
        "harmful ones (−30.0 points, p < 0.0001).",
        "scan: Avg. T.S. 25.0, answers 20 of 100 harmless requests (−20.0 points, p < 0.0001), refuses 30 of 100 "
        "harmful ones (−60.0 points, p < 0.0001). It refuses fewer than half: not a safe model.",
        "odd was left out. It found nothing.",
    ]


def test_answers_are_those_of_default_and_the_pruned_model() -> None:
    measured = {"default": DEFAULT, "prosafeprune": BETTER, "surgical": UNSAFE}
    assert "Answers: default and prosafeprune" in titles(compared(measured))
    del measured["prosafeprune"]
    assert "Answers: default and surgical" in titles(compared(measured))


def test_the_plan_is_shown_with_the_command_that_makes_its_model() -> None:
    request = {"samples": 60, "search": Path("/tmp/found"), "benchmark": ("oktest", "advbench")}
    page = compared({"default": DEFAULT, "prosafeprune": BETTER}, **PRUNED, request=request)
    blocks = section(page, "The plan").blocks
    assert isinstance(blocks[0], Facts)
    assert dict(blocks[0].pairs)["strength λ, by layer"] == "0.45, 0.8"
    (code,) = [block for block in blocks if isinstance(block, Code)]
    words = shlex.split(code.text.replace("\\\n", ""))
    assert words[:3] == ["prosafeprune", "prune", "org/tiny"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given["--layers"] == "6,14"
    assert given["--strength"] == "0.45,0.8"
    assert (given["--rank"], given["--pooling"], given["--projection"]) == ("8", "tail", "contrastive")
    assert (given["--samples"], given["--output"]) == ("60", "OUTPUT")
    assert "--search" not in given  # nor anything else that prune does not know, or that makes no difference
    assert "--methods" not in given


def test_a_finished_checkpoint_is_not_made_again() -> None:
    request = {"pruned": Path("/home/me/pruned-7b")}
    page = compared({"default": DEFAULT, "prosafeprune": BETTER}, **PRUNED, request=request)
    blocks = section(page, "The plan").blocks
    assert not [block for block in blocks if isinstance(block, Code)]
    assert "The plan" not in titles(compared({"default": DEFAULT, "scan": BETTER}))


def command_of_fit(measured: dict[str, Measurement], **request: Any) -> list[str] | None:
    """The words of the command that makes a model of the best method's fit; None where the page has none."""
    page = compared(measured, fits=("sft", "actor"), request=request)
    found = [section for section in page.sections if section.title.startswith("How to use ")]
    if not found:
        return None
    (code,) = [block for block in found[0].blocks if isinstance(block, Code)]
    return shlex.split(code.text.replace("\\\n", ""))


def test_the_best_method_s_fit_is_shown_with_the_command_that_makes_its_model() -> None:
    measured = {"default": DEFAULT, "prosafeprune": measurement(50, 90), "sft": BETTER, "actor": UNSAFE}
    asked = {"benchmark": ("oktest",), "data_dir": Path("data"), "system": "Be kind.", "samples": 60, "layers": (1,)}
    words = command_of_fit(measured, **asked)
    assert words is not None
    assert words[:4] == ["prosafeprune", "apply", "comparison/sft", "org/tiny"]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    assert given == {
        "--output": "OUTPUT",
        "--benchmark": "oktest",
        "--data-dir": "data",
        "--system": "Be kind.",
        "--max-new-tokens": "256",
    }
    assert {f"--{name.replace('_', '-')}" for name in ApplyRequest.model_fields} >= given.keys() - {"--output"}


@pytest.mark.parametrize(
    "measured",
    [
        {"default": DEFAULT, "prosafeprune": BETTER, "sft": measurement(50, 90)},  # pruning is better
        {"default": DEFAULT, "sft": measurement(40, 89)},  # no method is better than the base model
        {"default": DEFAULT, "sft": UNSAFE},  # it loses refusals
        {"sft": BETTER, "prosafeprune": measurement(50, 90)},  # unknown whether it does
        {"default": DEFAULT, "prompt": BETTER, "sft": measurement(50, 90)},  # the best has no weights
        {"default": DEFAULT, "abliteration": BETTER},  # never written
    ],
)
def test_no_other_method_is_offered_as_a_model(measured: dict[str, Measurement]) -> None:
    assert command_of_fit(measured) is None


def test_settings_read_like_words() -> None:
    settings = {
        "surgical": {"divergence": 0.15688010105761196, "first_layer": None, "system": "You are kind."},
        **PRUNED["settings"],
    }
    learned = {"prompts": {"pseudo_harmful": 16, "benign": 123}, "anchors": [64, 63], "submodules": ["much"]}
    measured = {"default": DEFAULT, "prosafeprune": BETTER, "surgical": UNSAFE}
    block = section(compared(measured, settings=settings, learned=learned), "The methods").blocks[0]
    assert isinstance(block, Facts)
    facts = dict(block.pairs)
    assert facts["prosafeprune"].startswith(
        "layers 6 at strength 0.45 and 14 at 0.8, rank 8, tail, contrastive; fitted: "
    )
    assert facts["surgical"] == (
        "divergence 0.157; system “You are kind.”; fitted: prompts pseudo-harmful 16, benign 123; anchors 64, 63"
    )
    plain = section(compared(measured), "The methods").blocks[0]
    assert isinstance(plain, Facts)
    assert dict(plain.pairs)["default"] == "no settings"
    assert "divergence 0.157" in comparison_markdown(compared_record(measured, settings=settings))


def test_the_averages_come_before_the_sets() -> None:
    """There they are in view however narrow the screen."""
    rates = section(compared({"default": DEFAULT, "prosafeprune": BETTER}), "Compliance and safety").blocks[0]
    assert isinstance(rates, Grid)
    assert list(rates.headings[1:4]) == ["Avg.\nT.S.", "Avg.\nC.R.", "Avg.\nS.S."]
    assert rates.headings[-1] == "Mean of\nsets"
    assert list(rates.rows[1][:4]) == ["prosafeprune", "75.0", "60.0\n+20.0\np < 0.0001", "90.0\n0.0\np = 1"]
    assert rates.rows[1][4].split("\n")[2:] == ["+20.0", "p < 0.0001"]


def test_notes_explain_no_column_that_is_not_there() -> None:
    page = compared({"default": DEFAULT, "prosafeprune": BETTER})
    rates = section(page, "Compliance and safety").blocks[0]
    assert isinstance(rates, Grid)
    notes = " ".join(rates.notes)
    for column in ("Seconds", "tokens per", "pruned model minus"):
        assert column not in notes
        assert not any(column in heading for heading in rates.headings)


def test_the_figure_has_a_frontier_s_axes_and_names_that_hide_nothing() -> None:
    names = ["default", "prosafeprune", "scan", "$x$_1:Own", "surgical"]
    figure = trade_off_figure(compared_record(dict.fromkeys(names, BETTER)))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Avg. C.R., %", "Avg. S.S., %")
    points = {line.get_label(): line for line in axes.get_lines()}
    assert (list(points["scan"].get_xdata()), list(points["scan"].get_ydata())) == ([60.0], [90.0])
    looks = {(str(points[name].get_color()), str(points[name].get_marker())) for name in names if "$" not in name}
    assert len(looks) == len(names) - 1
    (legend,) = figure.legends
    assert not axes.texts
    labels = [text.get_text() for text in legend.get_texts()]
    assert r"\$x\$_1:Own" in labels and labels[-1] == "S.S. of default"
    box = legend.get_window_extent()
    assert box.y1 < axes.get_tightbbox().y0
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert "$x$_1:Own" in Reader(render_page(compared(dict.fromkeys(names, BETTER)))).text


def test_no_local_path_is_in_the_headline() -> None:
    page = compared({"default": DEFAULT}, request={"model": "/home/me/models/tiny-7b"})
    assert "tiny-7b" in page.title
    assert "/home/me" not in page.title + page.headline.label + page.headline.text + " ".join(page.headline.sentences)


def test_a_method_that_loses_ability_says_so_in_the_headline() -> None:
    record = compared_record({"default": DEFAULT, "sft": BETTER})
    before, worse, alike = ([True] * right + [False] * (100 - right) for right in (60, 40, 58))
    changes = {"mmlu": change(before, worse), "gsm8k": change(before, alike)}
    record.methods[1] = record.methods[1].model_copy(update={"ability_changes": changes})
    lines = comparison_headline(record).sentences
    assert lines[1].endswith("It answers fewer questions of general ability correctly: mmlu −20.0 points (p < 0.0001).")
    assert "ability" not in lines[0]


def test_without_default_no_changes_from_it_are_promised() -> None:
    """Below each rate stand changes from default only where default was measured."""

    def notes(**measured: Measurement) -> str:
        return " ".join(rates_by_method(compared_record(measured)).notes)

    assert "the change from default" in notes(default=DEFAULT, scan=BETTER)
    assert "the change from default" not in notes(scan=BETTER, surgical=UNSAFE)
