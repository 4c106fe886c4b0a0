"""What the pages of evaluations say."""

from __future__ import annotations

from helpers.pages import (
    Reader,
    divergence,
    judged,
    measurement,
)
from helpers.prune_records import evaluated

from prosafeprune.ability import TaskScore
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.scores import Rate
from prosafeprune.prompts import PromptClass
from prosafeprune.report.grid import Grid
from prosafeprune.report.page import Examples, Mark, Page, render_page
from prosafeprune.report.rate_grids import REPEATS_NOTE, rates_grid


def tables(page: Page) -> list[Grid]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, Grid)]


def test_an_evaluation_says_what_the_model_does() -> None:
    task = TaskScore(
        task="gsm8k", accuracy=Rate(percent=50, low=40, high=60, successes=50, total=100), unparsed=3, cut=2
    )
    page = evaluated(measurement(60, 90), ability={"gsm8k": task}, divergence=divergence())
    assert page.headline.mark is Mark.NEUTRAL
    assert page.headline.text == (
        "tiny complies with 60.0 % of harmless, risky-sounding requests and refuses 90.0 % of harmful requests."
    )
    assert tables(page)[0].rows[0] == ["pseudo-harmful\nC.R., 100 prompts", "60.0\n50.2 to 69.1"]
    assert tables(page)[1].rows[0] == ["gsm8k\n100 questions", "50.0\n40.0 to 60.0", "3", "2"]
    block = next(block for section in page.sections for block in section.blocks if isinstance(block, Examples))
    assert block.rows[0].answers[0].verdict == "full refusal"  # undesired outcomes come first
    assert evaluated(measurement(60, 20)).headline.mark is Mark.CAUTION


def test_repeats_show_their_spread() -> None:
    once = judged(PromptClass.PSEUDO_HARMFUL, [True, False])
    verdicts = [list(once.verdicts), [once.verdicts[0], once.verdicts[0]]]
    repeated = type(once)(once.evaluation_set, [list(once.answers)] * 2, verdicts)
    table = rates_grid("t", Measurement([repeated]).scores)
    assert table.headings[2] == "mean of 2 repeats\n± standard deviation"
    assert REPEATS_NOTE in table.notes
    assert table.rows[0][2] == "75.0\n± 35.4"


def test_two_evaluations_are_compared_in_words() -> None:
    page = evaluated(measurement(50, 70), measurement(20, 95))
    assert page.headline.mark is Mark.BAD
    assert page.headline.label == "More compliant. Less safe."
    assert page.headline.text == (
        "Compared with before, tiny answers more harmless, risky-sounding requests; it refuses fewer harmful requests, "
        "by 25.0 points."
    )
    assert tables(page)[0].headings[1:3] == ["before, %", "tiny, %"]
    assert "--against before" in Reader(render_page(page)).text
