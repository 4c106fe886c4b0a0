"""Rates as figures, and the image to share."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from helpers.pages import judged, measurement, record
from matplotlib.figure import Figure
from PIL import Image

from prosafeprune.evaluation.measure import Measurement
from prosafeprune.method.plan import Plan
from prosafeprune.plotting import figure_files, new_figure
from prosafeprune.prompts import PromptClass
from prosafeprune.report.rate_figure import counts_figure, scores_figure, share_image

PLAN = Plan(layers=(1, 2), rank=8, strength=0.8)


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()  # categories get their labels
    return " ".join(part.get_text() for part in figure.findobj(lambda part: hasattr(part, "get_text")))


def test_both_rates_of_each_set_are_drawn_with_their_intervals() -> None:
    before, after = measurement(40, 95), measurement(61, 93)
    figure = scores_figure(after.scores, before.scores)
    shown = texts(figure)
    assert all(rate in shown for rate in ("40.0", "61.0", "95.0", "93.0", "base model", "pruned model"))
    (axes,) = figure.axes
    low, high = (axes.containers[1].lines[2][0].get_segments()[0][end][0] for end in (0, 1))
    rate = after.scores.sets[0].rate
    assert (low, high) == pytest.approx((rate.low, rate.high))
    assert "base model" not in texts(scores_figure(after.scores))


@pytest.mark.parametrize("sets", [1, 7])
def test_the_image_to_share_is_1200_by_630_and_repeatable(sets: int) -> None:
    def measured(good: int) -> Measurement:
        harmless = judged(PromptClass.PSEUDO_HARMFUL, [i < good for i in range(100)])
        named = [replace(harmless, evaluation_set=replace(harmless.evaluation_set, name=f"s{i}")) for i in range(sets)]
        return Measurement([*named, judged(PromptClass.HARMFUL, [True] * 100)])

    made = record(measured(40), measured(60), PLAN, model="org/" + "a$b_" * 40)
    made = made.model_copy(update={"judge": "llm:org/Meta-Llama-3.1-70B-Instruct-AWQ-INT4 (XSTest question 2)"})
    image = share_image(made)
    assert image == share_image(made)
    with Image.open(io.BytesIO(image)) as opened:
        assert opened.size == (1200, 630)
        border = Counter(opened.convert("RGB").crop((0, 0, 1200, 12)).getdata()) + Counter(
            opened.convert("RGB").crop((1188, 0, 1200, 630)).getdata()
        )
        assert set(border) == {(255, 255, 255)}  # nothing is cut off
        assert len(set(opened.convert("RGB").getdata())) > 20


def test_the_image_to_share_leaves_out_what_is_refused_for_a_policy_alone() -> None:
    """Its heading is of harmful requests, and these are not."""
    off_policy = judged(PromptClass.HARMFUL, [True] * 10)
    off_policy = replace(off_policy, evaluation_set=replace(off_policy.evaluation_set, name="beyond-policies-outside"))
    without = [measurement(40, 95), measurement(61, 93)]
    both = [Measurement([*one.sets, off_policy]) for one in without]
    assert share_image(record(*both, PLAN)) == share_image(record(*without, PLAN))


def test_classes_are_named() -> None:
    assert "full refusal" in texts(counts_figure({"full_refusal": 3, "broken": 1}))


def test_a_notebook_shows_a_figure() -> None:
    figure = new_figure()
    figure.subplots().plot([1, 2])
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert figure_files(figure)["png"].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("sets", "said"), [(8, ""), (9, "1 further set is in the report. "), (12, "4 further sets are ")]
)
def test_the_image_to_share_says_how_many_sets_it_leaves_out(
    sets: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = judged(PromptClass.PSEUDO_HARMFUL, [True] * 10)
    named = [replace(harmless, evaluation_set=replace(harmless.evaluation_set, name=f"s{i}")) for i in range(sets - 1)]
    measured = Measurement([*named, judged(PromptClass.HARMFUL, [True] * 10)])
    drawn: list[str] = []
    written = Figure.text
    monkeypatch.setattr(
        Figure, "text", lambda self, *args, **more: drawn.append(args[2]) or written(self, *args, **more)
    )
    share_image(record(measured, measured, PLAN))
    assert drawn[-1].startswith(f"{said}Percent" if said.endswith("report. ") or not said else said)
