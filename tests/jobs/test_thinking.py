"""``--thinking``: prompts are calibrated, searched and measured on as the model is run, or in both ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.adapter_runs import prune
from helpers.fixture_types import Make, Run
from helpers.tiny_models import TEMPLATE, copy_with_template

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import OFF_POLICY, EvaluationSet, sets_in_modes
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.prompts.conversation import (
    as_prompt,
    last_turn,
    stored_prompt,
    thinks,
    transcript,
    with_last_turn,
    with_thinking,
)
from prosafeprune.prompts.overlap import find_overlaps
from prosafeprune.report.record import read_record

SWITCH = TEMPLATE + "{% if add_generation_prompt and not enable_thinking %}<think></think>{% endif %}"


@pytest.fixture
def reasoning(checkpoint: Make, tmp_path: Path) -> Path:
    """A model whose template can switch thinking."""
    return copy_with_template(checkpoint("llama"), tmp_path / "reasoning", SWITCH)


@pytest.mark.parametrize("prompt", ["Hi there", as_prompt([("system", "Be kind."), ("user", "Hi there")])])
def test_a_prompt_that_thinks_is_another_prompt_with_the_same_words(prompt: str) -> None:
    asked = with_thinking(prompt)
    assert (thinks(prompt), thinks(asked), thinks(stored_prompt(str(asked)))) == (False, True, True)
    assert asked != prompt
    assert with_thinking(asked) == asked
    assert (last_turn(asked), transcript(asked)) == (last_turn(prompt), transcript(prompt))
    assert thinks(with_last_turn(asked, "Bye"))
    assert not thinks(with_last_turn(prompt, "Bye"))


def test_a_prompt_is_in_two_sets_however_it_is_answered() -> None:
    plain = PromptSet(PromptClass.HARMFUL, "plain", (Prompt("How do I pick a neighbour's lock?"),))
    assert len(find_overlaps(plain, plain.with_thinking())) == 1


def test_a_policy_stays_one_in_both_modes() -> None:
    prompts = PromptSet(PromptClass.HARMFUL, "policies", (Prompt("Off the subject"),))
    _, again = sets_in_modes([EvaluationSet(OFF_POLICY, "policies", prompts)], "both")
    assert again.is_policy
    assert thinks(again.prompts.texts[0])


def test_both_calibrates_and_measures_every_prompt_in_both_modes_and_the_floor_holds_in_each(
    reasoning: Path, prompt_files: dict[str, str], tmp_path: Path, few_prompts: None
) -> None:
    off, both = tmp_path / "off", tmp_path / "both"
    prune(reasoning, off, prompt_files, format="checkpoint")
    prune(reasoning, both, prompt_files, format="checkpoint", thinking="both", floor="estimate")
    once, twice = read_record(off), read_record(both)
    for name, prompts in once.calibration.items():
        assert twice.calibration[name].count == 2 * prompts.count
    assert list(twice.evaluation) == [*once.evaluation, *(f"{name}-thinking" for name in once.evaluation)]
    before = {score.name: score.rate for score in once.source.sets}
    again = {score.name: score.rate for score in twice.source.sets}
    assert {name: again[name] for name in before} == before  # without thinking nothing changed
    assert twice.floor is not None
    assert {"bundled-harmful", "bundled-harmful-thinking"} <= {test.name for test in twice.floor.tests}
    assert "--thinking both" in (both / "report.html").read_text()
    rows = [json.loads(line) for line in (both / "prosafeprune_answers.jsonl").open()]
    of_set = {name: [row for row in rows if row["set"] == name] for name in twice.evaluation}
    answers = [
        [row["source_answer"] for row in of_set[name]] for name in ("bundled-harmful", "bundled-harmful-thinking")
    ]
    assert len(answers[0]) == len(answers[1])
    assert answers[0] != answers[1]  # the template ends otherwise


def test_an_evaluation_of_both_modes_has_each_set_twice(
    reasoning: Path, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    options = {"test_harmful": prompt_files["harmful"], "max_new_tokens": 2, "device": "cpu", "progress": False}
    measured = prosafeprune.evaluate(reasoning, tmp_path / "out", thinking="both", **options)
    assert [score.name for score in measured.record.scores.sets] == ["own-harmful", "own-harmful-thinking"]


def test_a_method_is_fitted_in_both_modes(
    reasoning: Path, prompt_files: dict[str, str], tmp_path: Path, few_prompts: None
) -> None:
    options = {"test_harmful": prompt_files["harmful"], "max_new_tokens": 2, "device": "cpu", "progress": False}
    kept = {}
    for mode in ("off", "both"):
        prosafeprune.evaluate(reasoning, tmp_path / mode, thinking=mode, method="scan", **options)
        made_by = json.loads((tmp_path / mode / "made_by.json").read_text())
        kept[mode] = made_by["calibration"]["harmful"]["count"]
    assert kept["both"] == 2 * kept["off"]


def test_where_both_makes_no_sense_it_is_refused(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    model = checkpoint("llama")
    run.refused("the chat template of", "evaluate", model, "--thinking", "both", "-o", tmp_path / "out")
    run.refused("choose on or off", "chat", model, "--thinking", "both")
    run.refused("choose on or off", "analyze", "layers", model, "--thinking", "both")
    with pytest.raises(InputError, match="behind servers"):
        from prosafeprune.jobs.prune_served import run_prune_served
        from prosafeprune.requests.recipe import make_recipe

        recipe = make_recipe(model=str(model), layers=1, memory="low", thinking="both")
        run_prune_served(recipe, tmp_path / "out", "serve {model} {port}")
