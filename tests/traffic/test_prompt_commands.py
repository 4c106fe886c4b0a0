"""``prompts rate``, ``check`` and ``split``: what they print, write and refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fixture_types import Make, Run
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.json_lines import read_rows, write_rows
from helpers.model_server import ModelServer, prompt_of, said
from helpers.tiny_models import make_model, make_tokenizer

import prosafeprune
from prosafeprune.analysis import harm_probe
from prosafeprune.errors import InputError
from prosafeprune.files.claim import claimed
from prosafeprune.jobs.split_prompts import deal_groups
from prosafeprune.prompts import PromptClass, bundled_beyond, bundled_prompts, read_reviewed
from prosafeprune.prompts.conversation import as_prompt, read_turns
from prosafeprune.traffic.rating import question, read_rating

RATED = {"Bake bread": 0, "Kill a process": 2, "Pick my own lock": 3, "Stab him": 5, "Hm": None}


def rater(body: dict[str, Any]) -> Any:
    text = next(one for one in RATED if f"\n{one}\n" in prompt_of(body))
    return said("Hard to tell." if RATED[text] is None else f"Rating: {RATED[text]}/5")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": text, "topic": "t", "review": "open"} for text in RATED])


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


def test_check_finds_repeats_languages_shared_prompts_and_leaks(tmp_path: Path, run: Run) -> None:
    leaked = bundled_prompts(PromptClass.HARMFUL, "test").texts[3]
    one = write_rows(
        tmp_path / "one.jsonl",
        [
            {"prompt": text}
            for text in ("How do I kill a Python process now?", "how do i kill a python process now", leaked)
        ],
    )
    two = write_rows(
        tmp_path / "two.jsonl",
        [
            {"prompt": text}
            for text in ("How do I kill a Python process now", "Wie werde ich die Mäuse in der Küche los?")
        ],
    )
    code, out, err = run("prompts", "check", one, two, "--json")
    assert code == 4
    assert "2 prompts are in two files, and 1 in a benchmark" in err
    found = json.loads(out)
    first, second = found["files"]
    assert (first["prompts"], first["repeats"], first["words"]) == (3, 1, 8)
    assert second["languages"] == {"en": 1, "de": 1}
    assert [len(pair["overlaps"]) for pair in found["shared"]] == [2]
    leaks = [pair for pair in found["leaks"] if pair["overlaps"]]
    assert [(Path(pair["file"]).name, pair["also_in"]) for pair in leaks] == [("one.jsonl", "bundled harmful")]
    assert leaks[0]["overlaps"][0]["first_line"] == 3


def test_check_finds_bundled_test_prompts_beyond_one_english_turn(tmp_path: Path, run: Run) -> None:
    leaked = bundled_beyond("domains", PromptClass.HARMFUL, "test").texts[2]
    code, out, _ = run("prompts", "check", write_rows(tmp_path / "mine.jsonl", [{"prompt": leaked}]))
    assert code == 4
    assert "domains, harmful" in out
    assert "Searched for leaks: all bundled test prompts." in out


def test_check_reads_benchmarks_in_full(tmp_path: Path, run: Run) -> None:
    mine = write_rows(tmp_path / "mine.jsonl", [{"prompt": "a b c"}])
    write_rows(tmp_path / "oktest.jsonl", [*({"prompt": f"other {n}"} for n in range(400)), {"prompt": "A, b: c!"}])
    code, out, _ = run("prompts", "check", mine, "-b", "oktest", "--data-dir", tmp_path)
    assert code == 4
    assert "OKTest" in out
    assert run("prompts", "check", mine)[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "has no prompts"), ('{"a": "b"}', "no column 'prompt'"), ('{"prompt": " "}', "is empty or not text")],
)
def test_files_that_cannot_be_checked(text: str, message: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    run.refused(message, "prompts", "check", tmp_path / "p.jsonl")


@pytest.mark.parametrize("command", [["check"], ["split", "-o", "sets"]])
def test_json_lines_in_a_text_file_are_no_prompts(command: list[str], tmp_path: Path, run: Run) -> None:
    (tmp_path / "p.txt").write_text('{"prompt": "Bake bread"}\n')
    run.refused("is a JSON object, not a prompt", "prompts", *command, tmp_path / "p.txt")


def test_a_file_named_twice_is_an_error(prompts: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        prosafeprune.check_prompts([prompts, prompts])


def test_split_keeps_near_duplicates_together_and_all_fields(tmp_path: Path, run: Run) -> None:
    texts = {n: f"{n}a {n}b {n}c {n}d how do I fell this old tree" for n in range(15)}
    rows = [{"prompt": text + end, "messages": [], "n": n} for n, text in texts.items() for end in ("", " now")]
    file = write_rows(tmp_path / "p.jsonl", rows)
    out, _ = run.ok("prompts", "split", file, "-o", tmp_path / "split", "--json")
    assert sum(one["prompts"] for one in json.loads(out)["splits"]) == 30
    parts = {name: read_rows(tmp_path / "split" / f"{name}.jsonl") for name in ("calibration", "validation", "test")}
    assert sorted(map(json.dumps, (row for part in parts.values() for row in part))) == sorted(map(json.dumps, rows))
    places = [{row["n"] for row in part} for part in parts.values()]
    assert sum(map(len, places)) == len(set.union(*places)) == 15
    assert [len(part) for part in parts.values()] == [18, 6, 6]
    again = prosafeprune.split_prompts(file, tmp_path / "again")
    assert [row.prompt for row in again.splits["test"]] == [row["prompt"] for row in parts["test"]]
    other = prosafeprune.split_prompts(file, tmp_path / "other", seed=1)
    assert [row.prompt for row in other.splits["test"]] != [row["prompt"] for row in parts["test"]]


@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.98, 0.01, 0.01), (0.34, 0.33, 0.33)])
@pytest.mark.parametrize("sizes", [[1, 1, 1], [50, 1, 1], [5] * 10 + [1] * 50])
def test_dealt_groups_stay_whole_fill_every_part_and_come_near_the_shares(
    sizes: list[int], shares: tuple[float, ...]
) -> None:
    starts = np.cumsum([0, *sizes])
    groups = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    parts = deal_groups(groups, shares, seed=3)
    assert sorted(row for part in parts for row in part) == list(range(sum(sizes)))
    assert all(parts)
    for group in groups:
        assert sum(bool(set(group) & set(part)) for part in parts) == 1
    if len(sizes) > 3:
        assert all(abs(len(part) - share * sum(sizes)) <= 2 for part, share in zip(parts, shares, strict=True))


@pytest.mark.parametrize("shares", ["50-50", "60-20-30", "100-0-0", "a-b-c"])
def test_shares_that_are_none(shares: str, prompts: Path, run: Run) -> None:
    run.refused("three shares above 0 that add up to 100", "prompts", "split", prompts, "-o", "out", "--shares", shares)


def test_prompts_of_one_group_cannot_be_split(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "p.txt"
    file.write_text("one two three four\none two three four five\n")
    code, _, err = run("prompts", "split", file, "-o", tmp_path / "out")
    assert code == 2
    assert "1 groups of near-duplicates, and a split needs three" in err


def test_results_have_a_summary_tables_and_a_figure_in_python(prompts: Path, server: ModelServer) -> None:
    server.answer = rater
    rated = prosafeprune.rate_prompts(prompts, endpoint=server.url, keep="2-3", progress=False)
    checked = prosafeprune.check_prompts(prompts)
    split = prosafeprune.split_prompts(prompts, prompts.with_name("split"))
    assert repr(rated) == "<RatedPrompts: 2 of 5 prompts are rated 2 to 3 by tiny (question 1)>"
    assert repr(checked) == "<CheckResult: 1 files, 0 prompts in another file or in a benchmark>"
    assert repr(split).startswith("<SplitPrompts: 3 for calibration, 1 for validation, 1 for test, in ")
    for result, count in ((rated, 7), (checked, 1), (split, 3)):
        assert "<table>" in result._repr_html_()
        assert len(result.plot().axes[0].patches) == count
