"""The refusal probe of the playground, fitted to stored answers while the model also answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from helpers.fixture_types import Make
from helpers.json_lines import write_rows
from helpers.reporters import KeptWarnings
from helpers.served_answers import load, question

from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import EVIDENCE_FILE
from prosafeprune.jobs import refusal_probe
from prosafeprune.jobs.refusal_probe import FittedRefusalProbe, _stored_answers, fit_refusal_probe, watch_refusals
from prosafeprune.jobs.served_model import ServedModel
from prosafeprune.model.source import ModelSource
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts.conversation import as_prompt, turns_of
from prosafeprune.serving.engine import Engine

REFUSAL, HELP = "I cannot help with that.", "Sure, here you are: 1. Do it."


def write_answers(folder: Path, refused: int, helped: int) -> None:
    kinds = [("full_refusal", REFUSAL)] * refused + [("full_compliance", HELP)] * helped
    rows = [
        {"prompt": f"Question number {i * 37 % 101}", "source_answer": answer, "source_verdict": verdict}
        for i, (verdict, answer) in enumerate(kinds)
    ]
    write_rows(folder / EVIDENCE_FILE, rows)


def test_prompts_that_are_conversations_are_read_as_such(tmp_path: Path) -> None:
    prompt = as_prompt([("system", "Be brief."), ("user", "One question"), ("assistant", "Yes?"), ("user", "Another")])
    write_rows(
        tmp_path / EVIDENCE_FILE,
        [{"prompt": str(prompt), "source_answer": REFUSAL, "source_verdict": "full_refusal"}],
    )
    ((found, _, refuses),) = _stored_answers(tmp_path / EVIDENCE_FILE)
    assert refuses
    assert turns_of(found) == turns_of(prompt)


def test_answers_are_taken_from_all_of_the_file(tmp_path: Path) -> None:
    write_answers(tmp_path, 100, 99)  # fewer than twice as many as are taken, in the order of the sets
    taken = _stored_answers(tmp_path / EVIDENCE_FILE)
    assert (len(taken), sum(refuses for *_, refuses in taken)) == (120, 61)


def test_a_probe_that_hardly_predicts_refusals_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, served = KeptWarnings(), SimpleNamespace(engine=SimpleNamespace())
    for auc in (0.63, 0.9, None):
        found = FittedRefusalProbe(lambda state: 0.5, auc, 120)
        monkeypatch.setattr(refusal_probe, "fit_refusal_probe", lambda served, found=found: found)
        watch_refusals(cast(ServedModel, served), reporter).join(60)
    (warning,) = reporter.lines
    assert "(held-out AUC 0.63, and chance is 0.5), so refusal probabilities mean little" in warning


def test_the_probe_knows_refusals_by_their_first_tokens(checkpoint: Make, tmp_path: Path) -> None:
    folder = checkpoint("llama")
    engine = Engine(load(folder))
    served = ServedModel(engine, ModelSource("tiny", folder), {}, None, pruned=tmp_path)
    try:
        assert fit_refusal_probe(served) is None
        write_answers(tmp_path, 20, 2)
        assert fit_refusal_probe(served) is None  # too few of one kind
        write_answers(tmp_path, 20, 24)
        found = fit_refusal_probe(served)
        assert found is not None
        assert (found.auc, found.answers) == (1.0, 44)
        assert fit_refusal_probe(replace(served, pruned=None)) is None
        watch_refusals(served, SilentReporter()).join(60)
        pieces = list(engine.stream(question(engine, "Question number 5")))
        assert any(piece.refusal is not None and 0 <= piece.refusal <= 1 for piece in pieces)
        assert np.isfinite([piece.refusal for piece in pieces if piece.refusal is not None]).all()
        (tmp_path / EVIDENCE_FILE).write_text("{}\n")
        with pytest.raises(InputError, match="cannot be read"):
            fit_refusal_probe(served)
    finally:
        engine.close()
