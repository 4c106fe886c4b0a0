"""What can be known at once is said at once: without torch, without weights, and without leaving anything behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fixture_types import Make, Run

EARLY = (
    "import sys; sys.argv = ['prosafeprune', *sys.argv[1:]]\n"
    "from prosafeprune import cli\n"
    "try:\n    cli.main()\nexcept SystemExit as ended:\n    code = ended.code\n"
    "slow = {'torch', 'transformers', 'scipy.stats', 'optuna', 'pandas', 'matplotlib'} & set(sys.modules)\n"
    "assert not slow, f'{slow} imported'\n"
    "sys.exit(code)"
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(
    arguments: list[str], message: str, checkpoint: Make, tmp_path: Path
) -> None:
    search = tmp_path / "kept"
    search.mkdir()
    plan = {"layers": [1], "rank": 4, "strength": 1.0, "pooling": "tail", "projection": "contrastive"}
    point = {"number": 1, "plan": plan, "estimated": None, "measured": {"compliance_rate": 1.0, "safety_score": 1.0}}
    record = {"made_by": {}, "silhouettes": {}, "candidates": [1], "lowest_safety": 1.0, "trials": 1, "chosen": None}
    source = {"compliance_rate": 1.0, "safety_score": 1.0}
    (search / "search.json").write_text(json.dumps({**record, "source": source, "points": [point]}))
    names = {"MODEL": str(checkpoint("llama")), "SEARCH": str(search)}
    command = [names.get(word, word) for word in arguments]
    output = [] if arguments[0] == "search" else ["-o", str(tmp_path / "deep" / "out")]
    done = subprocess.run(
        [sys.executable, "-c", EARLY, *command, *output], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, message in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


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
    assert "budget 8," in " ".join(out.split())
    assert "answers of the pruned model" not in out


def test_after_loading_one_line_says_how_long_it_takes(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    files = [text for name, file in prompt_files.items() for text in (f"--{name.replace('_', '-')}", file)]
    options = ["--layers", 1, "--rank", 4, "--max-new-tokens", 2, "--max-safety-drop", 100, "--accept-unsafe"]
    _, err = run.ok("prune", checkpoint("llama"), *options, *files)
    assert "on this machine: activations" in err
