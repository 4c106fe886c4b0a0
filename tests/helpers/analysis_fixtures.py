"""Fixtures of the tests of analyses and of the analysis job; conftest.py of either folder imports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from helpers.json_lines import write_rows
from helpers.plan_scoring import OddJudge
from prosafeprune.generation import Answer, Decoding, LocalGenerator
from prosafeprune.plotting import new_figure

QUESTIONS = 3
"""Of the task of general ability."""


class Interrupted(Exception):
    pass


class Answered(list[str]):
    """The prompts that models in memory have answered, in order."""

    stop_at: int | None = None
    """How many may be answered before the run is interrupted."""


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Answered:
    prompts = Answered()
    original = LocalGenerator.answer

    def answer(self: LocalGenerator, asked: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        for row, one in original(self, asked, decoding):
            if len(prompts) == prompts.stop_at:
                raise Interrupted
            prompts.append(asked[row])
            yield row, one

    monkeypatch.setattr(LocalGenerator, "answer", answer)
    return prompts


@pytest.fixture
def odd_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models neither comply nor refuse: a judge by the answers' characters gives some of each."""
    monkeypatch.setattr("prosafeprune.analysis.context.make_judge", lambda *_: OddJudge())


@pytest.fixture
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """PNGs of few pixels: drawing them is most of the time of a small run."""
    monkeypatch.setattr("prosafeprune.plotting.RESOLUTION", 30)


@pytest.fixture
def no_page_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank figures on the page."""
    monkeypatch.setattr("prosafeprune.analysis.analysis_page.plot", lambda *_, **__: new_figure(1, 1))


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch, no_page_figures: None) -> None:
    """Blank figures in the files too, for tests that are not about figures."""
    monkeypatch.setattr("prosafeprune.analysis.analysis_folder.draw", lambda *_: {"svg": b"<svg/>", "png": b""})


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A data folder with a few questions of general ability."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"question": f"What is {n} and 1?", "answer": f"They are\n#### {n + 1}"} for n in range(QUESTIONS)]
    write_rows(folder / "gsm8k_test.jsonl", rows)
    return folder
