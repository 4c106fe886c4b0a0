"""``prompts mine`` from end to end: candidates, near-duplicates, the sample, masking, the folder and its page."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Run
from helpers.json_lines import read_rows, write_rows

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.judges.verdict import AnswerClass, Verdict
from prosafeprune.prompts import PromptClass, read_reviewed
from prosafeprune.traffic.candidates import Candidates
from prosafeprune.traffic.turns import LoggedTurn

NO = "I'm sorry, but I can't help with that request."
YES = "Use the command kill with the number of the process, for example kill 4242."
REFUSED = Verdict(AnswerClass.FULL_REFUSAL, "an open refusal")


def chat(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]}


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / "candidates.jsonl")


def test_refused_turns_become_candidates_with_their_context(tmp_path: Path, run: Run) -> None:
    log = write_rows(
        tmp_path / "log.jsonl",
        [
            chat("How do I kill a process?", YES, "And a zombie process in Linux?", NO),
            chat("Which knife is best for trout?", NO),
            chat("which knife is best, for TROUT?", NO),
            {"messages": "damaged"},
        ],
    )
    out, err = run.ok("prompts", "mine", log, "-o", tmp_path / "mined", "--json")
    found = json.loads(out)
    counts = {name: found[name] for name in ("turns", "refused", "repeats", "candidates", "skipped")}
    assert counts == {"turns": 4, "refused": 3, "repeats": 1, "candidates": 2, "skipped": 1}
    assert "1 entries could not be read" in err
    knife, zombie = rows(tmp_path / "mined")
    assert (knife["prompt"], knife["times"], knife["line"]) == ("Which knife is best for trout?", 2, 2)
    assert zombie["messages"] == chat("How do I kill a process?", YES, "And a zombie process in Linux?")["messages"]
    assert (zombie["review"], zombie["class"], zombie["log"]) == ("open", "full_refusal", "log.jsonl")
    assert json.loads((tmp_path / "mined" / "prosafeprune.json").read_text()) == found


def test_answers_in_a_language_that_was_not_measured_are_told(tmp_path: Path, run: Run) -> None:
    swedish = chat(
        "Hur d\u00f6dar jag en process?", "Jag \u00e4r ledsen, men jag kan tyv\u00e4rr inte hj\u00e4lpa dig med det."
    )
    log = write_rows(tmp_path / "log.jsonl", [swedish, chat("Which knife is best for trout?", NO)])
    out, err = run.ok("prompts", "mine", log, "-o", tmp_path / "mined", "--json")
    assert "1 of 2 answers are in a language that the built-in judge was not measured in" in err
    assert json.loads(out)["unmeasured_languages"] == 1


def test_equal_runs_give_equal_files_and_a_folder_is_replaced_only_when_asked(tmp_path: Path, run: Run) -> None:
    log = write_rows(tmp_path / "log.jsonl", [chat(f"May I {word}?", NO) for word in ("run", "hide", "kill time")])
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        assert run("prompts", "mine", log, "-o", folder)[0] == 0
    for name in ("candidates.jsonl", "review.html", "prosafeprune.json"):
        one, two = ((folder / name).read_bytes() for folder in folders)
        assert one == two
    run.refused("exists already", "prompts", "mine", log, "-o", tmp_path / "one")
    assert run("prompts", "mine", log, "-o", tmp_path / "one", "--overwrite")[0] == 0


def test_personal_data_is_masked_in_all_that_is_written_unless_kept(tmp_path: Path) -> None:
    mail, card = "eva@example.com", "4111 1111 1111 1111"
    entry = chat(f"I am {mail}.", "Hello.", f"Is card {card} stolen? Ask {mail}", f"{NO} {mail}")
    log = write_rows(tmp_path / "log.jsonl", [entry])
    result = prosafeprune.mine_prompts(log, tmp_path / "masked", progress=False)
    assert result.record["masked"] == {"CARD": 1, "EMAIL": 3}
    for file in (tmp_path / "masked").iterdir():
        assert mail not in file.read_text()
        assert card not in file.read_text()
    assert rows(tmp_path / "masked")[0]["prompt"] == "Is card [CARD] stolen? Ask [EMAIL]"
    prosafeprune.mine_prompts([log], tmp_path / "kept", keep_personal=True, progress=False)
    assert rows(tmp_path / "kept")[0]["messages"][0]["content"] == f"I am {mail}."


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.jsonl", "{}\n", "no answered user turn was found"),
        ("log.jsonl", "", "no answered user turn was found"),
        ("log.pdf", "", "logs end in"),
        ("log.jsonl.gz", "no gzip", "cannot be read"),
    ],
)
def test_a_log_of_no_use_is_one_line_and_nothing_is_written(
    name: str, text: str, message: str, tmp_path: Path, run: Run
) -> None:
    (tmp_path / name).write_text(text)
    run.refused(message, "prompts", "mine", tmp_path / name, "-o", tmp_path / "out")
    assert {one.name for one in tmp_path.iterdir()} == {name}


def test_nothing_refused_is_no_error(tmp_path: Path, run: Run) -> None:
    log = write_rows(tmp_path / "log.jsonl", [chat("How do I kill a process?", YES)])
    out, _ = run.ok("prompts", "mine", log, "-o", tmp_path / "out")
    assert "candidates" in out
    assert rows(tmp_path / "out") == []


def turn(prompt: str, *earlier: str) -> LoggedTurn:
    said = tuple((("user", "assistant")[place % 2], text) for place, text in enumerate([*earlier, prompt]))
    return LoggedTurn(said, NO, "log.jsonl", 1)


def collected(turns: Iterable[LoggedTurn], limit: int) -> Candidates:
    candidates = Candidates(limit, io.BytesIO())
    for one in turns:
        candidates.add(one, REFUSED)
    return candidates


def test_a_request_after_another_request_is_no_repeat() -> None:
    turns = [turn("Tell me more"), turn("Tell me more", "Guns", "No"), turn("Tell me more", "Roses", "Red")]
    candidates = collected([*turns, *turns], 10)
    assert [row["times"] for row in candidates.rows()] == [2, 2, 2]


def under(system: str, prompt: str = "Which loan is best?") -> LoggedTurn:
    return LoggedTurn((("system", system), ("user", prompt)), NO, "log.jsonl", 1)


def test_a_request_under_another_system_prompt_is_no_repeat() -> None:
    """Refused under a policy that asks for it, and refused wrongly without one."""
    bank, helpful = "You discuss only banking.", "You are a helpful assistant."
    candidates = collected([under(bank), under(helpful), under(helpful), turn("Which loan is best?")], 10)
    found = [(row["messages"][0]["content"], row["times"]) for row in candidates.rows()]
    assert found == [(helpful, 2), (bank, 1), ("Which loan is best?", 1)]


def test_the_date_in_a_system_prompt_makes_no_other_request() -> None:
    days = ("Monday, 26 Jul 2024", "Tuesday, 1 August 2025", "2026-03-02")
    candidates = collected([under(f"Be brief. Today is {day}.") for day in days], 10)
    assert [row["times"] for row in candidates.rows()] == [3]


def test_the_sample_does_not_depend_on_the_order_of_the_log() -> None:
    turns = [turn(f"word{number} other{number} third{number}") for number in range(300)]
    forward, backward = collected(turns, 20), collected(reversed(turns), 20)
    assert len(forward) == len(backward) == 20
    assert {row["prompt"] for row in forward.rows()} == {row["prompt"] for row in backward.rows()}
    assert forward.dropped == backward.dropped == 280
    late = sum(int(row["prompt"].split()[0].removeprefix("word")) >= 150 for row in forward.rows())
    assert 4 <= late <= 16


def test_memory_does_not_grow_with_the_log() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with io.BytesIO() as spool:
            spool.write = len  # type: ignore[assignment]
            candidates = Candidates(200, spool)
            for number in range(count):
                candidates.add(turn(f"word{number} other{number} third{number}"), REFUSED)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(8000) - peak(2000) < 300_000  # 6,000 candidates would take more than 4 MB


def test_a_reviewed_file_gives_each_class_its_own_prompts(tmp_path: Path) -> None:
    found = {"May I run?": "harmless", "How do I poison him?": "harmful", "Hm?": "unsure", "And?": "open"}
    path = write_rows(tmp_path / "reviewed.jsonl", [{"prompt": text, "review": one} for text, one in found.items()])
    assert read_reviewed(str(path), PromptClass.PSEUDO_HARMFUL).texts == ["May I run?"]
    assert read_reviewed(str(path), PromptClass.BENIGN).texts == ["May I run?"]
    assert read_reviewed(str(path), PromptClass.HARMFUL).texts == ["How do I poison him?"]


def test_candidates_that_nobody_reviewed_cannot_be_calibrated_on(tmp_path: Path, run: Run) -> None:
    log = write_rows(tmp_path / "log.jsonl", [chat("How do I poison him?", NO)])
    assert run("prompts", "mine", log, "-o", tmp_path / "mined")[0] == 0
    with pytest.raises(InputError, match="none of its 1 prompts is reviewed as harmless"):
        read_reviewed(str(tmp_path / "mined" / "candidates.jsonl"), PromptClass.PSEUDO_HARMFUL)
    for option in ("--pseudo-harmful", "--test-pseudo-harmful", "--harmful", "--test-harmful"):
        code, _, err = run(
            "prune", tmp_path, "--layers", 1, option, tmp_path / "mined" / "candidates.jsonl", "--dry-run"
        )
        assert code == 2, option
        assert "reviewed" in err or "config.json" in err
