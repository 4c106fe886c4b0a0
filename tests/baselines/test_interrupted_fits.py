"""Fits that were interrupted: they resume to the same end, answer nothing twice, and count the time of all sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.baseline_runs import fit_context, loaded
from helpers.evaluation_runs import prompts_asked
from helpers.killed_runs import in_killed_child, killed
from helpers.training_runs import RATE, rate_candidates

from prosafeprune.baselines.actor import Actor, ShiftLoss
from prosafeprune.baselines.fitting import FittedMethod
from prosafeprune.baselines.method import Method
from prosafeprune.baselines.null_space import NullSpace
from prosafeprune.baselines.prompting import Prompting
from prosafeprune.baselines.safe_patching import WEIGHTS, SafePatching
from prosafeprune.baselines.sft import Sft
from prosafeprune.errors import InputError
from prosafeprune.progress import Advance, SilentReporter, Status
from prosafeprune.prompts import PromptClass

UPDATES = 3
"""Of ACTOR in an epoch: 12 prompts, five at once."""


class Stopping(SilentReporter):
    """Stops at the nth step of the stages whose title has these words."""

    def __init__(self, words: str, at: int, stop: Any) -> None:
        self.words, self.at, self.stop, self.seen = words, at, stop, 0

    @contextmanager
    def stage(self, title: str, total: int, status: Status | None = None) -> Iterator[Advance]:
        def advance(steps: float) -> None:
            self.seen += 1
            if self.seen == self.at:
                self.stop()

        yield advance if self.words in title else lambda steps: None


def interrupt() -> None:
    raise KeyboardInterrupt


def fitted_in(folder: Path, method: Method, reporter: SilentReporter | None = None) -> FittedMethod:
    context = replace(fit_context(loaded("llama")), reporter=reporter or SilentReporter())
    return FittedMethod(method, {}, folder / "fitted.safetensors", lambda: context)


@pytest.mark.parametrize("stop", [UPDATES, UPDATES + 2, 2 * UPDATES, 2 * UPDATES + 1])
def test_actor_resumes_to_the_same_end(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The direction of a resumed epoch is that of the layer at the epoch's start, not of the layer before training."""
    method = Actor(alpha=1.0, layer=1, rank=2, examples_at_once=5, learning_rate=RATE)
    directions: list[torch.Tensor] = []
    find = ShiftLoss.find_direction

    def found(self: ShiftLoss) -> None:
        find(self)
        directions.append(self.direction)

    monkeypatch.setattr(ShiftLoss, "find_direction", found)
    expected = method.fit(fit_context(loaded("llama")))
    uninterrupted, directions[:] = list(directions), []
    assert len(uninterrupted) == 3
    assert not torch.equal(uninterrupted[0], uninterrupted[1])
    with pytest.raises(KeyboardInterrupt):
        _ = fitted_in(tmp_path, method, Stopping("training", stop, interrupt)).parts
    directions.clear()
    again = fitted_in(tmp_path, method).parts
    assert again.facts == expected.facts
    assert all(torch.equal(value, expected.tensors[name]) for name, value in again.tensors.items())
    done = stop // UPDATES
    assert len(directions) == 3 - done
    assert all(torch.equal(one, two) for one, two in zip(directions, uninterrupted[done:], strict=True))


def test_a_killed_session_counts_in_the_seconds_of_a_training(tmp_path: Path) -> None:
    method = Actor(alpha=1.0, layer=1, rank=2, examples_at_once=5)
    in_killed_child(lambda: fitted_in(tmp_path, method, Stopping("training", UPDATES + 1, killed)).parts)
    clock = tmp_path / "fitting-time.json"
    assert (tmp_path / "fitting-actor-1.0.safetensors").exists()
    assert json.loads(clock.read_text())["seconds"] > 0
    clock.write_text(json.dumps({"seconds": 1000.0}))
    seconds = fitted_in(tmp_path, method).parts.seconds
    assert seconds is not None and 1000 < seconds < 1100
    assert [file.name for file in tmp_path.iterdir()] == ["fitted.safetensors"]


def test_a_killed_session_counts_in_the_seconds_of_training_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.baselines.fit_clock.WITH_LINES", 0.0)
    method = Sft(answer_tokens=4, rank=2)
    in_killed_child(lambda: fitted_in(tmp_path, method, Stopping("answers", 6, killed)).parts)
    assert len((tmp_path / "fitting-answers.jsonl").read_text().splitlines()) >= 1
    assert json.loads((tmp_path / "fitting-time.json").read_text())["seconds"] > 0


def test_the_clock_is_not_written_for_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prosafeprune.baselines.fit_clock import FitClock

    now = [100.0]
    monkeypatch.setattr("prosafeprune.baselines.fit_clock.time.perf_counter", lambda: now[0])
    clock, file = FitClock(tmp_path / "time.json"), tmp_path / "time.json"
    now[0] += 4.9
    clock.save_with_lines()
    assert not file.exists()
    now[0] += 0.1
    clock.save_with_lines()
    assert json.loads(file.read_text()) == {"seconds": 5.0}
    now[0] += 2.0
    clock.save_with_lines()
    assert json.loads(file.read_text()) == {"seconds": 5.0}
    clock.save()
    assert json.loads(file.read_text()) == {"seconds": 7.0}
    now[0] += 50.0
    assert FitClock(file).seconds == 7.0  # a session that begins now


# Candidates on validation prompts

RATES = [(75, 50), (50, 50), (100, 75), (75, 100), (0, 0)]
"""Of up to five candidates, in order; the third is the first of the two best."""
SELECTING: list[tuple[Method, str, Any]] = [
    (Actor(layer=1, rank=2, epochs=1, learning_rate=RATE), "alpha", 0.5),
    (SafePatching(rank=2, learning_rate=RATE), "weights", list(WEIGHTS[2])),
    (NullSpace(), "strength", 0.4),
]


@pytest.mark.parametrize(("method", "setting", "value"), SELECTING, ids=lambda one: getattr(one, "name", None))
def test_the_fit_is_that_of_the_candidate_with_the_highest_tradeoff(
    method: Method, setting: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate_candidates(monkeypatch, RATES)
    fitted = method.fit(fit_context(loaded("llama")))
    assert fitted.facts[setting] == value
    assert list(fitted.facts["validation"].values()) == [
        list(pair) for pair in RATES[: len(fitted.facts["validation"])]
    ]
    given = type(method)(**{**method.model_dump(), setting: value}).fit(fit_context(loaded("llama")))
    assert "validation" not in given.facts
    assert fitted.facts.get("losses") == given.facts.get("losses")
    assert fitted.tensors.keys() == given.tensors.keys()
    assert all(torch.equal(tensor, given.tensors[name]) for name, tensor in fitted.tensors.items())


@pytest.mark.parametrize("method", [*(one for one, _, _ in SELECTING), Prompting()], ids=lambda method: method.name)
def test_validation_answers_are_not_given_twice(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate_candidates(monkeypatch, RATES)
    asked = prompts_asked(monkeypatch)
    whole = fitted_in(tmp_path / "whole", method)
    whole.path.parent.mkdir()
    expected = whole.parts
    total, candidates = len(asked), len(expected.facts["validation"])
    assert total == 8 * candidates
    assert not list(whole.path.parent.glob("fitting-*"))

    asked.clear()
    rate_candidates(monkeypatch, RATES)
    words = {"prompt": "strategies", "actor": "alphas", "safe-patching": "weights", "null-space": "strengths"}
    monkeypatch.setattr("prosafeprune.generation.decoding.report_tokens", lambda rows, share: None)  # whole answers
    with pytest.raises(KeyboardInterrupt):
        _ = fitted_in(tmp_path, method, Stopping(words[method.name], 10, interrupt)).parts
    kept = [json.loads(line) for line in (tmp_path / "fitting-validation.jsonl").read_text().splitlines()]
    assert len(kept) == 10
    assert json.loads((tmp_path / "fitting-time.json").read_text())["seconds"] > 0

    asked.clear()
    rate_candidates(monkeypatch, RATES)
    again = fitted_in(tmp_path, method).parts
    assert len(asked) == total - 10
    assert again.facts == expected.facts
    assert not list(tmp_path.glob("fitting-*"))


def test_answers_of_another_candidate_are_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate_candidates(monkeypatch, RATES)
    asked, method = prompts_asked(monkeypatch), NullSpace()
    text = fit_context(loaded("llama")).validation[PromptClass.PSEUDO_HARMFUL].texts[0]
    row = {"prompt": text, "repeat": 0, "candidate": "7", "answer": "No."}
    (tmp_path / "fitting-validation.jsonl").write_text(json.dumps(row) + "\n")
    _ = fitted_in(tmp_path, method).parts
    assert len(asked) == 4 * 8
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "fitting-validation.jsonl").write_text(json.dumps({**row, "answer": 3}) + "\n")
    with pytest.raises(InputError, match="is damaged"):
        _ = fitted_in(tmp_path / "again", method).parts


def test_another_grid_is_another_fit(tmp_path: Path) -> None:
    assert Actor().describe()["alpha"] == [0.1, 0.25, 0.5, 1.0]
    _ = fitted_in(tmp_path, Actor(alpha=(1.0,), layer=1, rank=2, epochs=1)).parts
    with pytest.raises(InputError, match="belongs to another fit"):
        _ = fitted_in(tmp_path, Actor(alpha=(0.5, 1.0), layer=1, rank=2, epochs=1)).parts
