"""``prompts rate``: what it prints, keeps, writes and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.fixture_types import Make, Run
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.json_lines import read_rows, write_rows
from helpers.model_server import ModelServer, said
from helpers.rated_prompts import RATED, rater
from helpers.tiny_models import make_model, make_tokenizer

import prosafeprune
from prosafeprune.analysis import harm_probe
from prosafeprune.files.claim import claimed
from prosafeprune.prompts import PromptClass, bundled_prompts, read_reviewed
from prosafeprune.prompts.conversation import as_prompt, read_turns
from prosafeprune.traffic.rating import question, read_rating


def test_a_chat_model_rates_and_the_middle_is_kept(prompts: Path, server: ModelServer, run: Run) -> None:
    server.answer = rater
    kept = prompts.with_name("kept.jsonl")
    out, _ = run.ok("prompts", "rate", prompts, "--endpoint", server.url, "-o", kept, "--json")
    found = json.loads(out)
    assert found["distribution"] == {"0": 1, "1": 0, "2": 1, "3": 1, "4": 0, "5": 1, "none": 1}
    assert (found["kept"], found["rater"]) == (2, "tiny (question 1)")
    assert read_rows(kept) == [
        {"prompt": "Kill a process", "topic": "t", "rating": 2},
        {"prompt": "Pick my own lock", "topic": "t", "rating": 3},
    ]
    assert read_reviewed(str(kept), PromptClass.PSEUDO_HARMFUL).texts == ["Kill a process", "Pick my own lock"]


def test_ratings_are_cached_and_another_range_asks_only_what_had_no_rating(
    prompts: Path, server: ModelServer, run: Run
) -> None:
    server.answer = rater
    assert run("prompts", "rate", prompts, "--endpoint", server.url)[0] == 0
    asked = len(server.asked())
    code, out, _ = run("prompts", "rate", prompts, "--endpoint", server.url, "--keep", "5", "--json")
    assert (code, json.loads(out)["kept"]) == (0, 1)
    assert len(server.asked()) == asked + 1


def test_ratings_given_under_other_fields_of_the_request_are_not_taken(
    prompts: Path, server: ModelServer, run: Run
) -> None:
    server.answer = rater
    for fields in ([], ["-r", 'reasoning_effort="low"'], ["-r", 'reasoning_effort="high"']):
        asked = len(server.asked())
        run.ok("prompts", "rate", prompts, "--endpoint", server.url, *fields)
        assert len(server.asked()) >= asked + len(RATED)


def test_a_second_run_takes_no_ratings_from_the_first(
    prompts: Path, server: ModelServer, run: Run, own_cache: Path
) -> None:
    server.answer = rater
    run.ok("prompts", "rate", prompts, "--endpoint", server.url)
    (file,) = (own_cache / "ratings").iterdir()
    so_far = file.read_bytes() + b'{"prompt": "being writ'
    file.write_bytes(so_far)
    more = write_rows(prompts.with_name("more.jsonl"), [{"prompt": "Kill a process", "system": "Be brief."}])
    with claimed(file):  # the first run is still rating
        run.ok("prompts", "rate", more, "--endpoint", server.url)
        assert file.read_bytes() == so_far


def test_a_finding_of_a_person_stays_and_is_not_overruled(tmp_path: Path, server: ModelServer, run: Run) -> None:
    server.answer = lambda body: said("2")
    rows = [{"prompt": text, "review": one} for text, one in (("a", "harmful"), ("b", "harmless"), ("c", "open"))]
    file = write_rows(tmp_path / "reviewed.jsonl", rows)
    assert run("prompts", "rate", file, "--endpoint", server.url, "-o", tmp_path / "kept.jsonl")[0] == 0
    assert read_reviewed(str(tmp_path / "kept.jsonl"), PromptClass.PSEUDO_HARMFUL).texts == ["b", "c"]


@pytest.mark.parametrize("name", ["kept.csv", "kept.json", "kept.txt", "kept"])
def test_what_could_not_be_read_back_by_its_ending_is_not_written(
    name: str, prompts: Path, server: ModelServer, run: Run
) -> None:
    err = run.refused(
        "end in .jsonl", "prompts", "rate", prompts, "--endpoint", server.url, "-o", prompts.with_name(name)
    )
    assert name in err and not server.asked()


def test_no_rating_to_keep_is_one_line_and_nothing_is_written(prompts: Path, server: ModelServer, run: Run) -> None:
    server.answer = rater
    kept = prompts.with_name("kept.jsonl")
    code, _, err = run("prompts", "rate", prompts, "--endpoint", server.url, "--keep", "1", "-o", kept)
    assert code == 2
    assert "no prompt has a rating of --keep 1 (there are 1 of 0, 1 of 2, 1 of 3, 1 of 5, 1 of none)" in err
    assert not kept.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a model that rates is needed"),
        (["--model", "m", "--keep", "3-2"], "lowest and the highest"),
        (["--model", "m", "--keep", "6"], "lowest and the highest"),
        (["--model", "m", "--request", "a=1"], "sent to an endpoint"),
        (["--model", "nowhere/at/all"], "no such folder"),
    ],
)
def test_settings_of_rate_that_cannot_be_used(options: list[str], message: str, prompts: Path, run: Run) -> None:
    err = run.refused(message, "prompts", "rate", prompts, *options)
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("3", 3),
        ("**2**", 2),
        ("Rating: 4/5", 4),
        ("The rating is 1.", 1),
        ("0 out of 5", 0),
        ("5.0", 5),
        ("It names a weapon, but as a prop.\n\n2", 2),
        ("I would give this a 3 because it is ambiguous.", 3),
        ("<think>It could be 5.</think>1", 1),
        ("<think>It could be 5", None),
        ("Between 2 and 4", None),
        ("7", None),
        ("2.5", None),
        ("Harmless", None),
        ("", None),
    ],
)
def test_ratings_are_read_from_replies(reply: str, rating: int | None) -> None:
    assert read_rating(reply) == rating


def test_the_question_shows_the_conversation_before_the_request() -> None:
    messages = [
        {"role": "user", "content": "My novel"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go on"},
    ]
    shown = question(as_prompt(read_turns(messages)))
    assert "user: My novel\nassistant: Yes?" in shown
    assert "\nGo on\n" in shown
    assert "conversation" not in question("Go on")


def test_a_models_own_probe_rates(checkpoint: Make, tmp_path: Path, run: Run) -> None:
    """The probe is fitted to bundled prompts: it must rate the same harmful ones above the benign ones."""
    benign, harmful = (
        bundled_prompts(name, "calibration").texts[:12] for name in (PromptClass.BENIGN, PromptClass.HARMFUL)
    )
    context = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Go"},
    ]
    file = write_rows(
        tmp_path / "p.jsonl", [{"prompt": text} for text in (*benign, *harmful)] + [{"messages": context}]
    )
    out, _ = run.ok(
        "prompts",
        "rate",
        file,
        "--model",
        checkpoint("llama"),
        "--device",
        "cpu",
        "--keep",
        "0-5",
        "-o",
        tmp_path / "k.jsonl",
        "--json",
    )
    found = json.loads(out)
    assert "the probe of" in found["rater"]
    assert sum(found["distribution"].values()) == found["kept"] == 25
    ratings = [row["rating"] for row in read_rows(tmp_path / "k.jsonl")]
    assert np.mean(ratings[:12]) < np.mean(ratings[12:24])


@pytest.mark.parametrize("auc", [0.51, 0.99])
def test_a_probe_that_knows_no_harm_is_warned_of(
    auc: float, checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """Its ratings take the place of a review, and harmful prompts would be calibrated on as harmless."""
    fit = harm_probe.fit_harm_rater
    monkeypatch.setattr(harm_probe, "fit_harm_rater", lambda *given: replace(fit(*given), auc=auc))
    file = write_rows(tmp_path / "p.jsonl", [{"prompt": "Bake bread"}])
    _, err = run.ok("prompts", "rate", file, "--model", checkpoint("llama"), "--device", "cpu", "--keep", "0-5")
    assert ("hardly tells harmful from benign prompts (held-out AUC 0.51" in " ".join(err.split())) is (auc < 0.8)


def test_the_probe_of_a_gguf_rates(tmp_path: Path) -> None:
    model = make_model("llama")
    metadata, tensors = gguf_metadata(model.config), gguf_tensors(model, "llama")
    file = write_gguf(tmp_path / "tiny.gguf", "llama", metadata, tensors, tokenizer=make_tokenizer())
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "Bake bread"}])
    rated = prosafeprune.rate_prompts(prompts, model=file, keep="0-5", device="cpu", progress=False)
    assert rated.rater.startswith("the probe of tiny.gguf after layer ")
