"""Commands with several calibration sources: the options, the record and the page of a pruned model."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.fixture_types import Make, Run
from helpers.json_lines import write_prompts, write_rows
from helpers.pages import Reader
from helpers.prune_runs import prune

from prosafeprune.report.record import RECORD_FILE


def sources(tmp_path: Path) -> dict[str, str]:
    rows = [{"Request": f"Of ph{i} and xph{i}", "Harmfulness": "harmless"} for i in range(6)]
    return {
        "phtest": str(write_rows(tmp_path / "ph.jsonl", rows)),
        "mine": write_prompts(tmp_path / "mine.jsonl", (f"Of mine{i} and xmine{i}" for i in range(6))),
    }


def test_an_option_may_be_given_more_than_once(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    files = sources(tmp_path)
    dry = ["prune", checkpoint("llama"), "--layers", 1, "--rank", 4, "--device", "cpu", "--dry-run", "--only-mine"]
    given = ["--pseudo-harmful", files["mine"], "--pseudo-harmful", f"phtest={files['phtest']}"]
    _, err = run.ok(*dry, *given)
    assert "calibration prompts: 12 from" in " ".join(err.split()) and "; by source 6, 6." in " ".join(err.split())
    measured = ["--benchmark", f"phtest={files['phtest']}"]
    run.refused("phtest: is calibrated on (--pseudo-harmful) and measured on.", *dry, *given, *measured)
    for command in ("compare", "analyze"):
        asked = [command, checkpoint("llama"), "--rank", 4, "-o", tmp_path / command, *given, *measured]
        run.refused("phtest: is calibrated on", *asked, *(["--all"] if command == "analyze" else []))


def test_record_and_page_name_every_source(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    files = sources(tmp_path)
    given = {**prompt_files, "pseudo_harmful": [files["mine"], f"phtest={files['phtest']}"]}
    prune(checkpoint("llama"), tmp_path / "out", given)  # type: ignore[arg-type]
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    calibrated = record["calibration"]["pseudo_harmful"]
    assert calibrated["source"] == "mine.jsonl + phtest (ph.jsonl)"
    assert [(part["source"], part["count"]) for part in calibrated["sources"]] == [
        ("mine.jsonl", 6),
        ("phtest (ph.jsonl)", 6),
    ]
    assert len({part["sha256"] for part in calibrated["sources"]} | {calibrated["sha256"]}) == 3
    assert record["recipe"]["pseudo_harmful"] == ["mine.jsonl", "phtest=ph.jsonl"]
    page = Reader((tmp_path / "out" / "report.html").read_text()).text
    assert "--pseudo-harmful mine.jsonl" in page and "--pseudo-harmful phtest=ph.jsonl" in page
    assert all(f"6 from {part['source']}, SHA-256 {part['sha256']}" in page for part in calibrated["sources"])
    measured = ["-b", f"phtest={files['phtest']}", "-o", tmp_path / "measured", "--max-new-tokens", 2]
    run.refused("phtest: the model was calibrated on prompts of this set", "evaluate", tmp_path / "out", *measured)
    compared = ["--methods", "default,prosafeprune", "--pruned", tmp_path / "out", *measured]
    run.refused("phtest: the model was calibrated", "compare", checkpoint("llama"), *compared)


def test_a_file_of_which_a_part_was_calibrated_on_is_warned_of(run: Run, checkpoint: Make, tmp_path: Path) -> None:
    """With ``--hold-out``, the record knows the file by its name alone; measured in full, it flatters the model."""
    mine = write_prompts(tmp_path / "mine.jsonl", (f"Of mine{i} and xmine{i}" for i in range(8)))
    prune(checkpoint("llama"), tmp_path / "out", {"pseudo_harmful": mine}, hold_out=0.5, only_mine=False, samples=8)
    other = write_prompts(tmp_path / "other.jsonl", ["Of other and xother"])
    for file, warned in ((mine, True), (other, False)):
        folder = tmp_path / f"measured-{warned}"
        asked = ("--test-pseudo-harmful", file, "-o", folder, "--max-new-tokens", 2, "--device", "cpu")
        _, err = run.ok("evaluate", tmp_path / "out", *asked)
        told = "mine.jsonl: the model was calibrated on prompts of a file of this name"
        assert (told in " ".join(err.split())) is warned
    compared = ("--methods", "prosafeprune", "--pruned", tmp_path / "out", *asked[:2], *asked[4:])
    _, err = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "compared", *compared)
    assert told not in " ".join(err.split())
    compared = ("--methods", "prosafeprune", "--pruned", tmp_path / "out", "--test-pseudo-harmful", mine, *asked[4:])
    _, err = run.ok("compare", checkpoint("llama"), "-o", tmp_path / "compared with mine", *compared)
    assert told in " ".join(err.split())
