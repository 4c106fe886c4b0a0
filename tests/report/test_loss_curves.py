"""Training losses as figures."""

from __future__ import annotations

from typing import Any

import pytest

from prosafeprune.report.loss_curves import loss_curves


def drawn(picture: Any) -> list[float]:
    (line,) = picture.figure.axes[0].lines
    return [float(value) for value in line.get_ydata()]


def test_one_training_is_one_curve() -> None:
    (curve,) = loss_curves("sft", {"losses": [2.0, 1.5, 1.25], "pairs": 3})
    assert drawn(curve) == [2.0, 1.5, 1.25]
    assert "sft: 2 at the first of 3 updates, 1.25 at the last" in curve.description
    assert curve.caption == "sft: loss of each batch before its update."


def test_two_trainings_are_two_curves() -> None:
    first, second = loss_curves("patching", {"losses": {"ascent": [1.0, 3.0], "descent": [1.0, 0.5]}})
    assert (drawn(first), drawn(second)) == ([1.0, 3.0], [1.0, 0.5])
    assert "patching, ascent: 1 at the first of 2 updates, 3 at the last" in first.description
    assert second.caption.startswith("patching, descent: ")


@pytest.mark.parametrize(
    "losses", [None, 3, "1", [], [1.0], ["a", "b"], {}, {"one": [1.0], "two": None}, [[1, 2], [3]]]
)
def test_what_is_no_curve_is_not_drawn(losses: Any) -> None:
    """Facts may be of a method of the user's own."""
    assert loss_curves("mine", {"losses": losses}) == loss_curves("mine", {}) == []
