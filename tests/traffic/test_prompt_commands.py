"""``prompts check`` and ``split``, and the results of all commands in Python: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.fixture_types import Run
from helpers.json_lines import read_rows, write_rows
from helpers.model_server import ModelServer
from helpers.rated_prompts import rater

import prosafeprune
from prosafeprune.errors import InputError
from prosafeprune.jobs.split_prompts import deal_groups
from prosafeprune.prompts import PromptClass, bundled_beyond, bundled_prompts


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


def test_check_finds_prompts_that_are_reviewed_in_two_ways(tmp_path: Path, run: Run) -> None:
    """Else the first to say so is prune, after the split."""
    rows = [("Bake bread", "harmless"), ("Stab him", "harmful"), ("Bake bread", "open"), (" Stab him", "Unsure ")]
    file = write_rows(tmp_path / "all.jsonl", [{"prompt": text, "review": review} for text, review in rows])
    other = write_rows(tmp_path / "other.jsonl", [{"prompt": "Fry eggs", "review": "harmful"}])
    code, out, err = run("prompts", "check", file, other)
    assert code == 4
    assert f"{file} 'Stab him': reviewed as harmful in line 2 and as unsure in line 4" in out
    assert "1 prompts are reviewed in two ways" in err
    assert "in two files" not in err
    found = json.loads(run("prompts", "check", file, other, "--json")[1])["conflicting_reviews"]
    assert [(one["prompt"], one["findings"], one["lines"]) for one in found] == [
        ("Stab him", ["harmful", "unsure"], [2, 4])
    ]
    write_rows(file, [{"prompt": text, "review": review} for text, review in rows[:3]])
    assert run("prompts", "check", file, other)[0] == 0


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


@pytest.mark.parametrize(
    ("findings", "step"),
    [
        (
            [None],
            "Next, if these are harmless: prosafeprune prune MODEL -o pruned --pseudo-harmful sets/calibration.jsonl",
        ),
        (["harmless", "unsure"], "Next: prosafeprune prune MODEL -o pruned --pseudo-harmful sets/calibration.jsonl "),
        (["harmless", "harmful"], "test.jsonl --harmful sets/calibration.jsonl --test-harmful sets/test.jsonl"),
        (["open"], "None is reviewed as harmless or harmful"),
    ],
)
def test_split_says_what_to_do_next_with_what_was_reviewed(
    findings: list[str | None], step: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reviews = [findings[row % len(findings)] for row in range(60)]
    rows = [
        {"prompt": f"word{row} thing{row}", **({} if review is None else {"review": review})}
        for row, review in enumerate(reviews)
    ]
    Path("file.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, err = run.ok("prompts", "split", "file.jsonl", "-o", "sets")
    said = " ".join(err.split())
    assert step.strip() in said
    assert ("--harmful" in said) == (None in findings or "harmful" in findings)


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
