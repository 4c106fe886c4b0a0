"""Three states of one model: harmfulness on one scale, its own refusals, and the model left unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.analysis_fixtures import QUESTIONS, Answered
from helpers.fixture_types import Make, Run
from helpers.sweep_context import BOTH, PLAN, PROMPTS, make_context, make_request, state
from helpers.tiny_models import save_checkpoint

from prosafeprune.analysis.alignment_tax_analysis import AlignmentTaxAnalysis
from prosafeprune.analysis.alignment_tax_states import STATES, HarmfulnessScale, first_sentence
from prosafeprune.analysis.catalogue import find_entries
from prosafeprune.analysis.context import Context
from prosafeprune.analysis.sweeps import Variant, variant_edits
from prosafeprune.editing.edits import apply_edits
from prosafeprune.errors import InputError
from prosafeprune.jobs.analyze import FailedAnalysesError, run_analyze
from prosafeprune.judges.verdict import AnswerClass, Exchange, Verdict
from prosafeprune.model.loading import load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass

TUNED_ON = 6


@pytest.fixture
def context(checkpoint: Make, tmp_path: Path, questions: Path) -> Context:
    settings = {"tuning_prompts": TUNED_ON, "tuning_epochs": 2, "ability": "gsm8k", "ability_tokens": 3}
    return make_context(checkpoint("llama"), tmp_path / "answers", **settings, data_dir=questions)


def test_three_states_are_measured_and_the_model_is_unchanged(context: Context, answered: Answered) -> None:
    before, modules = state(context), [type(module) for module in context.loaded.model.modules()]
    analysis = AlignmentTaxAnalysis()
    analysis.check(context.request, context.prompts)
    seen = analysis.observe(context, None)
    assert len(answered) == 3 * (BOTH + QUESTIONS) + TUNED_ON
    assert seen["harmfulness benign"].shape == seen["harmfulness harmful"].shape == (3, PROMPTS)
    assert seen["harmfulness pseudo-harmful"].shape == (3, PROMPTS)
    assert seen["right"].shape == (3, 1) and len(seen["losses"]) == 2
    assert len({tuple(one) for one in seen["harmfulness pseudo-harmful"].tolist()}) == 3
    assert all(torch.equal(value, before[name]) for name, value in state(context).items())
    assert [type(module) for module in context.loaded.model.modules()] == modules
    again = analysis.observe(context, None)
    assert len(answered) == 3 * (BOTH + QUESTIONS) + TUNED_ON
    for name in seen:
        np.testing.assert_array_equal(seen[name], again[name])


def test_harmfulness_is_the_base_models_probes_on_the_edited_model(context: Context, tmp_path: Path) -> None:
    scale = HarmfulnessScale(context, first_layer=1)
    prompts = context.prompts.validation[PromptClass.PSEUDO_HARMFUL].texts
    edits = variant_edits(Variant(plan=PLAN), context.edits)
    found = {"no edit": scale.score([], prompts), "edits": scale.score(edits, prompts)}
    folder = save_checkpoint(tmp_path / "edited", "llama")
    model = load_model(folder, "", SilentReporter()).model
    with apply_edits(edits):
        model.load_state_dict(context.loaded.model.state_dict())
    model.save_pretrained(folder)
    edited = make_context(folder, tmp_path / "other")
    for name, one in (("no edit", context), ("edits", edited)):
        pooled = one.pooled("validation")
        by_name = {submodule.name: submodule for submodule in one.anatomy.submodules}
        expected = np.mean(
            [
                probe.probability(pooled.activations(by_name[submodule.name], PromptClass.PSEUDO_HARMFUL))
                for submodule, probe in scale.probes
            ],
            axis=0,
        )
        np.testing.assert_allclose(found[name], expected, atol=1e-4)
    assert {submodule.layer for submodule, _ in scale.probes} == {1, 2}
    assert np.abs(found["no edit"] - found["edits"]).max() > 1e-3


@pytest.mark.usefixtures("no_page_figures")
def test_tables_and_figures_of_a_run(checkpoint: Make, tmp_path: Path, questions: Path) -> None:
    request = make_request(
        checkpoint("llama"),
        tuning_prompts=TUNED_ON,
        tuning_epochs=1,
        ability="gsm8k",
        ability_tokens=3,
        data_dir=questions,
    )
    (one,) = run_analyze(request, find_entries(["alignment-tax"]), tmp_path / "out")
    assert [row[0] for row in one.result.table("summary").rows] == list(STATES)
    assert [row[-1] for row in one.result.table("ability").rows] == [QUESTIONS] * 3
    assert all(0 <= low <= value <= high <= 1 for _, _, value, low, high in one.result.table("harmfulness").rows)
    assert {path.name for path in one.folder.glob("*.png")} == {"both.png", "harmfulness.png", "ability.png"}
    (file,) = questions.glob("*.jsonl")
    file.write_text(file.read_text().replace("#### ", "#### 1"))  # other answers to the same questions
    with pytest.raises(FailedAnalysesError, match="was made with other settings .questions"):
        run_analyze(request, find_entries(["alignment-tax"]), tmp_path / "out")


def test_a_model_that_refuses_nothing_cannot_be_tuned(
    context: Context, answered: Answered, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lenient:
        name = "lenient"

        def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
            return [Verdict(AnswerClass.FULL_COMPLIANCE, "") for _ in exchanges]

    monkeypatch.setattr("prosafeprune.analysis.context.make_judge", lambda *_: Lenient())
    with pytest.raises(InputError, match=f"refuses none of {TUNED_ON} harmful prompts"):
        AlignmentTaxAnalysis().observe(context, None)
    assert len(answered) == TUNED_ON, "it says so before it measures anything"


def test_missing_requirements_are_reported_before_any_work(
    checkpoint: Make, tmp_path: Path, run: Run, answered: Answered
) -> None:
    asked = ("analyze", "alignment-tax", checkpoint("llama"), "--samples", "16", "-o", tmp_path / "out")
    code, _, err = run(*asked, "--layers", "1", "--data-dir", tmp_path)
    assert code == 2 and "has no mmlu_dev.jsonl" in err
    code, _, err = run(*asked, "--layers", "1", "--ability", "chess")
    assert code == 2 and "there is no task 'chess'" in err
    code, _, err = run(*asked)
    assert code == 2 and "Name its --layers" in err
    assert not answered


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        ("I'm sorry, but I can't do that. Ask me for something else.", "I'm sorry, but I can't do that."),
        ("  No.\nNever", "No."),
        ("I must decline\nAnd so on", "I must decline"),
        ("This is version 2.5 of no! Yes", "This is version 2.5 of no!"),
        ("", ""),
    ],
)
def test_a_refusal_is_its_first_sentence(answer: str, first: str) -> None:
    assert first_sentence(answer) == first
