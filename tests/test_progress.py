"""Progress of answers by tokens: a bar moves while a batch runs, and ends at the number of answers."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from prosafeprune.progress import SILENT, EarlierSteps, Pace, TimedReporter, partial_answers, report_tokens
from prosafeprune.terminal import TerminalReporter, _bar


def test_tokens_count_as_parts_of_answers() -> None:
    steps: list[float] = []
    with partial_answers(steps.append) as progress:
        report_tokens(4, 0.25)
        assert sum(steps) == pytest.approx(1)
        progress.finish()  # one ends early; three are left, a quarter done
        assert sum(steps) == pytest.approx(1.75)
        report_tokens(3, 1.0)
        for _ in range(3):
            progress.finish()
    assert sum(steps) == pytest.approx(4)


def test_outside_of_answers_tokens_are_reported_to_no_one() -> None:
    steps: list[float] = []
    with partial_answers(steps.append):
        pass
    report_tokens(4, 0.5)
    assert steps == []


def test_no_time_left_is_said_while_too_little_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.terminal.LOG_SECONDS", 0)
    with TerminalReporter() as reporter, reporter.stage("Answers", 100) as advance:
        advance(4)
        advance(46)
    shown = capsys.readouterr().err.splitlines()
    assert shown[1] == "Answers: 4 of 100"
    assert shown[2].startswith("Answers: 50 of 100, about ") and shown[2].endswith(" left")


def test_the_time_left_is_at_the_speed_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 20.0])
    monkeypatch.setattr("prosafeprune.progress.time.monotonic", lambda: next(clock))
    pace = Pace(402)
    pace.add(EarlierSteps(232))
    assert pace.seconds_left() is None  # of this run's, none is done
    pace.add(20)
    assert pace.done == 252
    assert pace.seconds_left() == pytest.approx(150)  # 20 in 20 s, and 150 to go


@pytest.mark.parametrize("shown_on", ["log", "terminal", "notebook"])
def test_after_a_resume_no_display_divides_by_the_steps_of_earlier_runs(
    shown_on: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, words = [0.0], list[str]()
    monkeypatch.setattr("prosafeprune.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("prosafeprune.terminal.LOG_SECONDS", 0)
    reporter = TerminalReporter()
    if shown_on == "terminal":
        reporter.console = Console(width=80, file=io.StringIO(), force_terminal=True)
    if shown_on == "notebook":
        cell = SimpleNamespace(update=words.append)
        ipython: Any = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
        display: Any = SimpleNamespace(HTML=str, display=lambda html, display_id: words.append(html) or cell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", display)
    with reporter.stage("Training", 402) as advance:
        now[0] = 20.0
        advance(EarlierSteps(232))
        advance(20)
        now[0] = 1020.0  # so that the bar is drawn
        advance(1)
    drawn = [*words, capsys.readouterr().err]
    if isinstance(reporter.console.file, io.StringIO):
        drawn.append(reporter.console.file.getvalue())
    whole = "".join(drawn)
    assert "253" in whole
    assert "2 h left" in whole  # 149 at 21 in 1020 s


def test_a_narrow_terminal_cuts_the_status_and_nothing_else() -> None:
    reporter = TerminalReporter()
    reporter.console = Console(width=80, file=io.StringIO(), force_terminal=True)
    with reporter._bars() as bars:
        status = "C.R. 50 %  bundled-pseudo-harmful"
        _bar(bars, "Likelihoods under the base model", 300, lambda: status)(150)
        shown = Console(width=80, file=io.StringIO())
        shown.print(bars.get_renderable())
    line = shown.file.getvalue().rstrip("\n")
    assert "\n" not in line
    assert "Likelihoods under the base model" in line and "150/300" in line and "0:00:00" in line
    assert "C.R. 50 %" in line and line.rstrip().endswith("…")


def test_the_time_left_in_all_is_scaled_by_what_a_stage_took(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 20.0, 110.0, 200.0])
    monkeypatch.setattr("prosafeprune.progress.time.monotonic", lambda: next(clock))
    notes: list[str] = []
    silent: Any = SimpleNamespace(stage=SILENT.stage, note=notes.append)
    timed = TimedReporter(silent)
    estimated = {"base answers": 200, "pruned answers": 200, "likelihoods": 100}
    timed.expect(estimated, {**dict.fromkeys(estimated, 50), "pruned answers": 5})
    with timed.stage("Loading", 1):
        pass
    assert notes == []
    with timed.stage("Base answers", 25):  # the others were known: 180 s for 50, as estimated 200
        pass
    assert notes == ["About 4 min left in all."]


def test_a_notebook_shows_a_bar_that_is_text_and_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    cell = SimpleNamespace(update=shown.append)
    ipython: Any = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    display: Any = SimpleNamespace(HTML=str, display=lambda html, display_id: shown.append(html) or cell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with TerminalReporter() as reporter, reporter.stage("<b>Answers</b>", 4, lambda: "<i>best</i>") as advance:
        advance(1.5)
        advance(2.5)
    assert 'value="0.000"' in shown[0]
    assert (
        shown[-1]
        == '<progress max="4" value="4.000"></progress> &lt;b&gt;Answers&lt;/b&gt;  4/4  &lt;i&gt;best&lt;/i&gt;'
    )
    shown.clear()
    with TerminalReporter(quiet=True) as reporter, reporter.stage("Answers", 4):
        pass
    assert shown == []


def test_the_libraries_get_their_settings_back() -> None:
    from transformers.utils import logging as transformers_logging

    def settings() -> tuple[object, ...]:
        level = logging.getLogger("torch").level
        return transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled(), level

    before = settings()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with pytest.raises(ValueError), TerminalReporter(quiet=True):
            assert settings() != before
            raise ValueError
        warnings.warn("of the caller", FutureWarning, stacklevel=1)
    assert settings() == before
    assert len(shown) == 1
