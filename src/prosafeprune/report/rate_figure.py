"""Rates as figures: those of one model, before and after pruning, and the image to share.

Commands on files of prompts and answers draw with it, too, so it does not import records, which import torch.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prosafeprune.evaluation.scores import Change, Rate, Scores, SetScore
from prosafeprune.files.output_names import SHARE_FILE as SHARE_FILE
from prosafeprune.plotting import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    as_written,
    new_figure,
    repeatable,
)
from prosafeprune.prompts import PromptClass
from prosafeprune.report.safety_words import SAFETY_WORDS
from prosafeprune.requests.judging import Safety
from prosafeprune.text import short_name, shortened

if TYPE_CHECKING:
    from prosafeprune.report.record import Record

SHARE_PIXELS = (1200, 630)
"""Width and height that social networks and chats show in full."""
DOTS_PER_INCH = 100
ROW_HEIGHT, MARGIN = 0.45, 1.1
"""Inches: of a set, and of all else."""
MOST_SETS = 8
"""Sets in the image to share; of more, the first, and how many are left out."""
FEW_SETS = 5
"""Up to this many are labelled in larger letters."""
ROUND_ROWS = 0.4
"""Room around the rows of an axis, in rows."""
LONGEST_NAME = 48
LONGEST_JUDGE = 80
LARGEST_TITLE, TITLE_CHARACTERS = 23, 40
"""Points; and the length of a title up to which that fits."""
LARGEST_FOOTNOTE, FOOTNOTE_CHARACTERS = 12, 115
"""The same of the last line, which names the judge."""
HEADINGS = {
    PromptClass.PSEUDO_HARMFUL: "Harmless requests answered (C.R.)",
    PromptClass.HARMFUL: "Harmful requests {done} (S.S.)",
    PromptClass.BENIGN: "Benign requests answered",
}
COLOURS = {PromptClass.PSEUDO_HARMFUL: BLUE, PromptClass.HARMFUL: ORANGE, PromptClass.BENIGN: GREY}


def scores_figure(scores: Scores, before: Scores | None = None, after: str = "pruned model") -> Figure:
    """Return the rate of each set with its 95 % interval; of the base model as well, if ``before`` is given.

    Args:
        after: what the model is called next to its base model.
    """
    figure = new_figure(WIDTH, MARGIN + ROW_HEIGHT * len(scores.sets))
    axes = figure.subplots()
    _draw_rates(axes, scores.sets, _by_name(before), [score.title for score in scores.sets], after=after)
    axes.set_xlabel("rate, % (bars: 95 % intervals; C.R. of harmless, S.S. of harmful sets)", fontsize=9)
    if before is not None:
        figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    return figure


def counts_figure(counts: Mapping[str, int], counted: str = "answers") -> Figure:
    """Return how many answers, or others, are of each kind, as bars."""
    figure = new_figure(WIDTH, MARGIN + ROW_HEIGHT * len(counts))
    axes = figure.subplots()
    bars = axes.barh([as_written(name.replace("_", " ")) for name in counts], list(counts.values()), color=BLUE)
    axes.bar_label(bars, padding=3, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(counted)
    return figure


def share_image(record: Record) -> bytes:
    """Return a PNG of ``SHARE_PIXELS`` with the rates of each set before and after, for a README or a post.

    It shows no prompt and no answer, and no set that is refused for a policy alone.
    """
    figure = Figure(figsize=(SHARE_PIXELS[0] / DOTS_PER_INCH, SHARE_PIXELS[1] / DOTS_PER_INCH), facecolor="white")
    title = f"{shortened(short_name(record.model.name), LONGEST_NAME)}, {record.made} against over-refusal"
    size = min(LARGEST_TITLE, LARGEST_TITLE * TITLE_CHARACTERS / len(title))
    figure.text(0.04, 0.9, as_written(title), fontsize=size, weight="bold")
    changes = {PromptClass.PSEUDO_HARMFUL: record.compliance_change, PromptClass.HARMFUL: record.safety_change}
    before = _by_name(record.source)
    shareable = [score for score in record.result.sets if not score.policy]  # those are not harmful
    sets = shareable[:MOST_SETS]
    shown = [prompt_class for prompt_class in PromptClass if any(score.prompt_class is prompt_class for score in sets)]
    shown.sort(key=list(HEADINGS).index)
    between = 0.135  # the numbers of an axis, and the heading of the next
    row_height = (0.66 - between * (len(shown) - 1)) / (len(sets) + ROUND_ROWS * len(shown))
    bottom = 0.8
    for prompt_class in shown:
        of_class = [score for score in sets if score.prompt_class is prompt_class]
        figure.text(
            0.04,
            bottom,
            _headline(prompt_class, changes.get(prompt_class), record.result.safety),
            fontsize=17,
            weight="bold",
        )
        height = row_height * (len(of_class) + ROUND_ROWS)
        bottom -= height + 0.02
        axes = figure.add_axes((0.34, bottom, 0.58, height))
        labels = [f"{score.title} ({score.rate.total})" for score in of_class]
        _draw_rates(axes, of_class, before, labels, 13 if len(sets) <= FEW_SETS else 10, record.changed_model)
        bottom -= between - 0.02
    footnote = _footnote(record, len(shareable) - len(sets))
    size = min(LARGEST_FOOTNOTE, LARGEST_FOOTNOTE * FOOTNOTE_CHARACTERS / len(footnote))
    figure.text(0.04, 0.045, footnote, fontsize=size, color=GREY)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", bbox_to_anchor=(0.97, 0.99), fontsize=12, frameon=False)
    stream = io.BytesIO()
    with repeatable():
        figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()


def _headline(prompt_class: PromptClass, change: Change | None, safety: Safety) -> str:
    from prosafeprune.report.assessment import signed

    heading = HEADINGS[prompt_class].format(done=SAFETY_WORDS[safety].done)
    if change is None:
        return heading
    interval = f"95 % interval {signed(change.low)} to {signed(change.high)}"
    return f"{heading}: {signed(change.points)} points ({interval})"


def _footnote(record: Record, left_out: int) -> str:
    more = f"{left_out} further {'set is' if left_out == 1 else 'sets are'} in the report. " if left_out else ""
    return as_written(
        f"{more}Percent, with 95 % intervals; in brackets the number of test prompts. "
        f"Judged by {shortened(record.judge, LONGEST_JUDGE)}. "
        f"prosafeprune {record.run.versions.get('prosafeprune', '')}"
    )


def _by_name(scores: Scores | None) -> dict[str, SetScore]:
    return {} if scores is None else {score.name: score for score in scores.sets}


def _draw_rates(
    axes: Axes,
    sets: Sequence[SetScore],
    before: Mapping[str, SetScore],
    labels: Sequence[str],
    size: float = 9,
    after: str = "pruned model",
) -> None:
    """Draw a row for each set: its rate with the interval, above it that of the base model in grey."""
    for row, score in enumerate(sets):
        shift = 0.17 if score.name in before else 0.0
        if score.name in before:
            label = "base model" if row == 0 else None
            _draw_rate(axes, before[score.name].rate, row - shift, GREY, "o", size, label)
        label = after if row == 0 and before else None
        _draw_rate(axes, score.rate, row + shift, COLOURS[score.prompt_class], "D", size, label)
    axes.set_xlim(0, 109)
    axes.set_xticks(range(0, 101, 20))
    axes.set_ylim(len(sets) - 0.45, -0.55)
    axes.set_yticks(range(len(sets)), list(map(as_written, labels)), fontsize=size)
    axes.tick_params(axis="x", labelsize=size - 1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_rate(axes: Axes, rate: Rate, row: float, colour: str, marker: str, size: float, label: str | None) -> None:
    errors = [[max(0.0, rate.percent - rate.low)], [max(0.0, rate.high - rate.percent)]]
    axes.errorbar(
        [rate.percent],
        [row],
        xerr=errors,
        color=colour,
        marker=marker,
        markersize=size * 0.6,
        capsize=size * 0.3,
        linewidth=size * 0.17,
        label=label,
    )
    axes.annotate(
        f"{rate.percent:.1f}",
        (rate.high, row),
        xytext=(size * 0.5, 0),
        textcoords="offset points",
        va="center",
        fontsize=size,
        color=colour,
    )
