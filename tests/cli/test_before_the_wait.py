"""What can be known at once is said at once: without torch, without weights, and without leaving anything behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fixture_types import Make, Run

EARLY = """
import contextlib, io, json, os, sys
from prosafeprune import cli
ends = []
for folder, arguments in json.load(sys.stdin):
    os.chdir(folder)
    sys.argv = ["prosafeprune", *arguments]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code
    slow = {"torch", "transformers", "scipy.stats", "optuna", "pandas", "matplotlib"} & set(sys.modules)
    ends.append((code, errors.getvalue(), sorted(slow)))
json.dump(ends, sys.stdout)
"""
WRONG: list[tuple[list[str], str]] = [
    (["prune", "MODEL", "--layers", "40"], "the model has 3 layers"),
    (["prune", "no/such/model", "--layers", "1"], "no such folder or file"),
    (["prune", "MODEL", "--search", "none", "--choose", "3"], "has no finished search"),
    (["prune", "MODEL", "--search", "none"], "there is no search"),
    (["prune", "MODEL", "--layers", "1", "--choose", "3", "--search", "SEARCH"], "both name the plan"),
    (["prune", "MODEL", "--search", "SEARCH", "--choose", "99"], "has the points 1 to 1"),
    (["prune", "MODEL", "--choose", "99"], "Run prosafeprune search first"),
    (["prune", "MODEL", "--layers", "1", "--harmful", "none.csv"], "none.csv: no such file"),
    (["search", "no/such/model"], "no such folder or file"),
    (["evaluate", "MODEL", "--test-harmful", "none.csv"], "none.csv: no such file"),
    (["evaluate", "no/such/model"], "no such folder or file"),
    (["compare", "MODEL", "--layers", "40"], "the model has 3 layers"),
    (["analyze", "layers", "MODEL", "--layers", "40"], "the model has 3 layers"),
]


@pytest.fixture(scope="module")
def ends(checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, int, str, list[str]]]:
    """Run the commands in one process, each in a separate folder.

    Give for each its folder, its exit code, what it printed on stderr, and the slow modules imported so far.
    """
    folders = [tmp_path_factory.mktemp("here") for _ in WRONG]
    commands = []
    for folder, (arguments, _) in zip(folders, WRONG, strict=True):
        search = folder / "kept"
        write_search(search)
        names = {"MODEL": str(checkpoint("llama")), "SEARCH": str(search)}
        output = [] if arguments[0] == "search" else ["-o", str(folder / "deep" / "out")]
        commands.append((str(folder), [*(names.get(word, word) for word in arguments), *output]))
    environment = {**os.environ, "PROSAFEPRUNE_CACHE": str(tmp_path_factory.mktemp("cache"))}
    done = subprocess.run(
        [sys.executable, "-c", EARLY],
        input=json.dumps(commands),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(folder, *ended) for folder, ended in zip(folders, json.loads(done.stdout), strict=True)]


def write_search(folder: Path) -> None:
    """Write a finished search with one point."""
    folder.mkdir()
    plan = {"layers": [1], "rank": 4, "strength": 1.0, "pooling": "tail", "projection": "contrastive"}
    point = {"number": 1, "plan": plan, "estimated": None, "measured": {"compliance_rate": 1.0, "safety_score": 1.0}}
    record = {"made_by": {}, "silhouettes": {}, "candidates": [1], "lowest_safety": 1.0, "trials": 1, "chosen": None}
    source = {"compliance_rate": 1.0, "safety_score": 1.0}
    (folder / "search.json").write_text(json.dumps({**record, "source": source, "points": [point]}))


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_what_is_wrong_is_said_before_torch_is_imported(
    number: int, ends: list[tuple[Path, int, str, list[str]]]
) -> None:
    folder, code, errors, slow = ends[number]
    assert slow == []
    assert (code, WRONG[number][1] in " ".join(errors.split())) == (2, True), errors
    assert sorted(path.name for path in folder.iterdir()) == ["kept"]


def test_a_dry_run_prints_plan_prompts_and_costs_and_loads_nothing(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **options: object) -> None:
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", loaded)
    files = [text for name, file in prompt_files.items() for text in (f"--{name.replace('_', '-')}", file)]
    given = [
        checkpoint("llama"),
        "--layers",
        1,
        "--rank",
        4,
        *files,
        "--only-mine",
        "--system",
        f"@{tmp_path / 'system.txt'}",
        "-o",
        tmp_path / "out",
        "--dry-run",
    ]
    (tmp_path / "system.txt").write_text("Be kind.\n")
    out, _ = run.ok("prune", *given)
    shown = " ".join(out.split())
    assert "3 layers" in shown
    assert "layers:strength 1:0.9" in shown
    assert "all, at most about" in shown
    assert "Be kind." in shown and "<|user|>" in shown  # a prompt as the model sees it
    assert "--memory low, not measured" in shown  # what each way takes
    assert "harmful.jsonl" in shown
    assert not (tmp_path / "out").exists()
    out, _ = run.ok("search", checkpoint("llama"), "--dry-run")
    assert "budget 10, the best 4 plans measured" in " ".join(out.split())
    assert "answers of the pruned model" not in out
    assert "bundled test" not in out  # a search sees none of these
    out, _ = run.ok("search", checkpoint("llama"), "--dry-run", "--strategy", "paper")
    assert "budget 30, all plans measured" in " ".join(out.split())


def test_after_loading_one_line_says_how_long_it_takes(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    files = [text for name, file in prompt_files.items() for text in (f"--{name.replace('_', '-')}", file)]
    options = ["--layers", 1, "--rank", 4, "--max-new-tokens", 2, "--max-safety-drop", 100, "--accept-unsafe"]
    _, err = run.ok("prune", checkpoint("llama"), *options, *files)
    assert "on this machine: activations" in err
