"""Supervised fine-tuning against a slow, literal implementation: its loss, its data, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers.slow_baselines as slow
import helpers.slow_training as literal
import pytest
import torch
from helpers.baseline_runs import fit_context, loaded
from helpers.training_runs import (
    ARCHITECTURES,
    BATCH,
    RATE,
    KindJudge,
    assert_learned,
    assert_trained_as_written_out,
    literal_pairs,
    matrices_of,
)

from prosafeprune.baselines.sft import Sft, read_pairs
from prosafeprune.errors import InputError, NotApplicableError
from prosafeprune.prompts import PromptClass
from prosafeprune.prompts.conversation import turns_of


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sft_is_adam_on_the_answers_tokens(architecture: str, kind_judge: KindJudge) -> None:
    tiny = loaded(architecture)
    method = Sft(rank=3, epochs=2, examples_at_once=BATCH, learning_rate=RATE, answer_tokens=7)
    assert_trained_as_written_out(method, tiny, literal_pairs(tiny, 7), literal.nats_per_token)


def test_sft_trains_only_on_answers_of_the_right_kind(kind_judge: KindJudge) -> None:
    tiny = loaded("llama")
    given = fit_context(tiny).calibration
    kind_judge.dropped = [given[PromptClass.HARMFUL].texts[1]]
    with pytest.raises(
        NotApplicableError, match=r"3 of the model's 4 own answers to harmful prompts are a full refusal"
    ):
        Sft().fit(fit_context(tiny))
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("prosafeprune.baselines.own_answers.FEWEST", 2)
        fitted = Sft(epochs=1, answer_tokens=4, rank=2).fit(fit_context(tiny))
    assert fitted.facts["pairs"] == {"benign": 4, "harmful": 3, "pseudo_harmful": 4}


def test_the_system_prompt_of_a_row_is_part_of_its_prompt(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    rows = [
        {"system": "You run a shop.", "instruction": "Kill the lights", "output": "Done.", "history": []},
        {"system": "", "instruction": "Slay a typo", "output": "Gone."},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with_system, plain = [pair.prompt for pair in read_pairs(data)]
    assert turns_of(with_system) == (("system", "You run a shop."), ("user", "Kill the lights"))
    assert plain == "Slay a typo"
    data.write_text(json.dumps({**rows[1], "history": [["Hi", "Hello."]]}) + "\n")
    with pytest.raises(InputError, match="line 1: 'history' has earlier turns"):
        read_pairs(data)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_pair_beyond_the_models_positions_is_one_line(architecture: str, tmp_path: Path) -> None:
    data = tmp_path / "long.jsonl"
    data.write_text(json.dumps({"prompt": "long " * 2000, "response": "Short."}) + "\n")
    with pytest.raises(InputError, match=r"long\.jsonl: the prompt 'long long .* tokens .* 2048 positions"):
        Sft(epochs=1, rank=2, answer_tokens=4, data=data).fit(fit_context(loaded(architecture)))


def test_sft_takes_answers_of_the_user_s(kind_judge: KindJudge, tmp_path: Path) -> None:
    tiny, data = loaded("llama"), tmp_path / "false_reject.jsonl"
    row = '{"prompt": "Slay a typo", "cot_response": "<think>no</think>", "instruct_response": "Delete it.", "id": 3}\n'
    data.write_text(row)
    method = Sft(epochs=1, rank=2, answer_tokens=6, data=data, examples_at_once=9, learning_rate=RATE)
    assert [one.texts for one in method.further_prompts()] == [["Slay a typo"]]
    theirs = list(tiny.tokenizer("Delete it.", add_special_tokens=False)["input_ids"])
    pairs = [*literal_pairs(tiny, 6)[:8], (slow.ids_of(tiny, "Slay a typo"), theirs[:6])]
    first = literal.first_factors(tiny, matrices_of(tiny), rank=2, seed=0)
    expected, losses = literal.adam(
        first,
        pairs,
        lambda factors, batch: literal.nats_per_token(tiny, factors, batch),
        epochs=1,
        at_once=9,
        rate=RATE,
        seed=0,
    )
    fitted = method.fit(fit_context(tiny))
    assert fitted.facts["losses"] == pytest.approx(losses, rel=1e-3)
    assert_learned(fitted, expected, first)
    settings = method.describe()
    assert "data" not in settings and len(settings["data_sha256"]) == 64
    data.write_text(row.replace("Delete", "Keep"))
    assert Sft(data=data).data_sha256 != settings["data_sha256"]


def test_the_input_of_an_instruction_is_part_of_its_prompt(tmp_path: Path) -> None:
    data = tmp_path / "alpaca.jsonl"
    rows = [
        {"instruction": "Translate", "input": "Bonjour", "output": "Hello"},
        {"instruction": "Slay a typo", "input": "", "output": "Gone."},
        {"prompt": "Kill a process", "input": "other", "response": "Use kill."},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = [pair.prompt for pair in read_pairs(data)]
    assert prompts == ["Translate\n\nBonjour", "Slay a typo", "Kill a process"]


# ACTOR


def test_an_interrupted_sft_asks_only_for_the_missing_answers(
    tmp_path: Path, kind_judge: KindJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, method = loaded("llama"), Sft(epochs=2, answer_tokens=4, rank=2)
    context = replace(fit_context(tiny, 1), folder=tmp_path)
    complete = method.fit(fit_context(tiny, 1))
    asked: list[str] = []
    from prosafeprune.files.line_store import LineStore

    add = LineStore.add

    def stopping(self: LineStore, repeat: int, prompt: str, **values: Any) -> None:
        add(self, repeat, prompt, **values)
        asked.append(prompt)
        if len(asked) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(LineStore, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        method.fit(context)
    resumed = method.fit(context)
    assert len(asked) == len(set(asked)) == 12
    assert resumed.facts == complete.facts
    assert all(torch.equal(value, complete.tensors[name]) for name, value in resumed.tensors.items())
