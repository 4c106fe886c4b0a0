"""The command line as a person meets it: exit codes, one clear line, tables, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make, Run
from helpers.tiny_models import make_model, make_tokenizer, save_checkpoint
from safetensors.torch import load_file, save_file

from prosafeprune.evaluation.safety_floor import FloorDecision, FloorVerdict


def options(files: dict[str, str], **settings: object) -> list[str]:
    given = {"layers": 1, "rank": 4, "max-new-tokens": 2, "max-safety-drop": 100, "device": "cpu"}
    given |= {name.replace("_", "-"): value for name, value in {**files, **settings}.items()}  # type: ignore[dict-item]
    accepted = ["--accept-unsafe"] if given["max-safety-drop"] == 100 else []
    return ["--only-mine", *accepted, *(text for name, value in given.items() for text in (f"--{name}", str(value)))]


def test_prune_prints_tables_on_stdout_and_progress_on_stderr(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    out, err = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", *options(prompt_files))
    assert "C.R." in out
    assert "S.S." in out
    assert "q: 3 of 48 x 48" in err
    assert "k: 3 of 24 x 48" in err
    assert "Written to" in err
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_json_is_the_record_and_nothing_else(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    out, _ = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", "--json", *options(prompt_files))
    assert json.loads(out) == json.loads((tmp_path / "out/prosafeprune.json").read_text())


@pytest.mark.long
def test_a_recipe_file_does_what_the_options_do(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    settings = {
        "model": str(checkpoint("llama")),
        "layers": 1,
        "rank": 4,
        "max_new_tokens": 2,
        "max_safety_drop": 100,
        "accept_unsafe": True,
        "only_mine": True,
    }
    file = tmp_path / "r.yaml"
    file.write_text(json.dumps({**settings, "device": "cpu", **prompt_files}))  # JSON is YAML
    run.ok("prune", "--recipe", file, "-o", tmp_path / "one", "--accept-unsafe")  # a recipe alone is not enough
    run("prune", checkpoint("llama"), "-o", tmp_path / "two", *options(prompt_files))
    for name in ("model.safetensors", "prosafeprune.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_safety_floor_has_an_exit_code_of_its_own(
    run: Run,
    checkpoint: Make,
    prompt_files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unsafe = FloorDecision(verdict=FloorVerdict.UNSAFE, reasons=["S.S. fell by 12.3 points."], tests=[])
    monkeypatch.setattr("prosafeprune.report.record.Record.decision", unsafe)
    arguments = options(prompt_files, max_safety_drop=3)
    code, out, err = run("prune", checkpoint("llama"), "-o", tmp_path / "out", *arguments)
    assert code == 3
    assert "fell by 12.3 points" in err
    assert "S.S." in out  # the evidence is shown all the same
    assert not (tmp_path / "out").exists()
    assert str(tmp_path / "out-not-saved.html") in err


def test_a_floor_that_could_not_be_tested_saves_nothing(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """A random model refuses nothing, so no loss of safety could ever show."""
    arguments = options(prompt_files, max_safety_drop=3)
    code, _, err = run("prune", checkpoint("llama"), "-o", tmp_path / "out", *arguments)
    assert code == 3
    assert "a loss of safety cannot be tested" in " ".join(err.split())
    assert not (tmp_path / "out").exists()
    assert "Not saved. Safety cannot be tested." in (tmp_path / "out-not-saved.html").read_text()


def broken_models(folder: Path) -> dict[str, Path]:
    """Models that cannot be used, by what is wrong with them."""
    made: dict[str, Path] = {"missing": folder / "missing"}
    (folder / "empty").mkdir()
    made["no config"] = folder / "empty"
    for name in (
        "no template",
        "NaN",
        "pickle",
        "quantised",
        "unknown",
        "cut",
        "adapter",
        "bad config",
        "missing tensor",
    ):
        made[name] = save_checkpoint(folder / name.replace(" ", "-"), "llama")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    (made["no template"] / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer.save_pretrained(made["no template"])
    weights = load_file(made["NaN"] / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(weights, made["NaN"] / "model.safetensors", metadata={"format": "pt"})
    weights = load_file(made["missing tensor"] / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, made["missing tensor"] / "model.safetensors", metadata={"format": "pt"})
    (made["pickle"] / "model.safetensors").rename(made["pickle"] / "pytorch_model.bin")
    for name, changes in (
        ("quantised", {"quantization_config": {"quant_method": "gptq"}}),
        ("unknown", {"model_type": "nonesuch", "architectures": ["NonesuchForCausalLM"]}),
    ):
        config = json.loads((made[name] / "config.json").read_text())
        (made[name] / "config.json").write_text(json.dumps({**config, **changes}))
    whole = (made["cut"] / "model.safetensors").read_bytes()
    (made["cut"] / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    (made["adapter"] / "adapter_config.json").write_text("{}")
    (made["bad config"] / "config.json").write_text("{")
    (folder / "not.gguf").write_bytes(b"nothing of the kind")
    made["not gguf"] = folder / "not.gguf"
    (folder / "cut.gguf").write_bytes(b"GGUF" + b"\0" * 20)
    made["cut gguf"] = folder / "cut.gguf"
    (folder / "model.onnx").write_bytes(b"x")
    made["other file"] = folder / "model.onnx"
    return made


MESSAGES = {
    "missing": "no such folder or file",
    "no config": "has no config.json",
    "no template": "no chat template",
    "NaN": "model.layers.0.mlp.up_proj.weight holds NaN",
    "pickle": "pickles only",
    "quantised": "quantised (gptq)",
    "unknown": "Upgrade transformers",
    "cut": "model.safetensors",
    "adapter": "is an adapter",
    "bad config": "not valid JSON",
    "missing tensor": "missing or have the wrong shape, such as model.layers.2.mlp.up_proj.weight",
    "cut gguf": "could not be read",
    "not gguf": "does not begin like a GGUF",
    "other file": "not a .gguf",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return broken_models(tmp_path_factory.mktemp("broken"))


@pytest.mark.parametrize("fault", MESSAGES)
def test_a_model_that_cannot_be_used_is_one_line_and_exit_code_2(
    fault: str, run: Run, broken: dict[str, Path], tmp_path: Path
) -> None:
    code, out, err = run("prune", broken[fault], "-o", tmp_path / "place" / "out", "--layers", 1, "--device", "cpu")
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, out, len(errors)) == (2, "", 1)
    assert MESSAGES[fault] in errors[0]
    assert err.rstrip().endswith(errors[0])
    assert not list((tmp_path / "place").glob("*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 3}, "has 3 layers, counted 0 to 2"),
        ({"rank": 500}, "Rank 500 needs at least 500 prompts of each class"),
        ({"layers": "x"}, "not a list of layers"),
        ({"strength": 2}, "strength"),
        ({"strength": "abc"}, "strength"),
        ({"revision": "main"}, "--revision is for hub models"),
        ({"device": "cuda:99"}, "cannot be used here"),
        ({"dtype": "int8"}, "unknown. Choose auto"),
        ({"harmful": "missing.csv"}, "missing.csv: no such file"),
        ({"prompt-field": "text"}, "no column 'text'"),
        ({"recipe": "missing.yaml"}, "no such recipe file"),
        ({"batch-size": "some"}, "batch_size"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_and_exit_code_2(
    settings: dict[str, object],
    message: str,
    run: Run,
    checkpoint: Make,
    prompt_files: dict[str, str],
) -> None:
    code, out, err = run("prune", checkpoint("llama"), *options(prompt_files, **settings))
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, out, len(errors)) == (2, "", 1)
    assert message in errors[0]


def test_calibrating_on_a_test_prompt_stops_the_run(run: Run, checkpoint: Make, prompt_files: dict[str, str]) -> None:
    from prosafeprune.prompts import bundled_prompts

    stolen = bundled_prompts("harmful", "test").prompts[4]
    with Path(prompt_files["harmful"]).open("a") as stream:
        stream.write(json.dumps({"prompt": stolen.text.upper()}) + "\n")
    err = run.refused("line 11", "prune", checkpoint("llama"), *options(prompt_files))
    assert f"bundled test line {stolen.line}" in err


def test_help_answers_without_waiting_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['prosafeprune', 'prune', '--help']\n"
        "from prosafeprune import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules, 'slow import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--strength" in done.stdout


def test_commands_on_files_of_prompts_and_answers_do_not_wait_for_torch() -> None:
    names = ("judge", "check_prompts", "split_prompts", "rate_prompts", "mine_prompts")
    jobs = ", ".join(f"prosafeprune.jobs.{name}" for name in names)
    code = f"import sys, {jobs}\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules, 'slow import'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_markup_and_escape_sequences_in_answers_are_not_interpreted(capsys: pytest.CaptureFixture[str]) -> None:
    from prosafeprune.evaluation.judged_set import JudgedSet
    from prosafeprune.evaluation.measure import Measurement
    from prosafeprune.evaluation.sets import EvaluationSet
    from prosafeprune.judges import AnswerClass, Verdict
    from prosafeprune.prompts import Prompt, PromptClass, PromptSet
    from prosafeprune.report.prune_grids import examples_grid
    from prosafeprune.terminal import print_grid

    evil = "[red]y[/red] \x1b]0;title\x07\x1b[2J"
    sets = [
        JudgedSet(
            EvaluationSet("made-up", "made up", PromptSet(prompt_class, "here", (Prompt("[bold]x[/bold]"),))),
            [[evil + "z" * 400]],
            [[Verdict(AnswerClass.FULL_COMPLIANCE, "")]],
        )
        for prompt_class in (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL)
    ]
    print_grid(examples_grid(Measurement(sets), Measurement(sets), ("base model", "pruned model")))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "title" not in out
    shown = "".join(out.split())
    assert "[bold]x[/bold]" in shown
    assert "[red]y[/red]" in shown
    harmful = out[out.index("│ harmful") :]
    assert 0 < harmful.count("z") <= 2 * 40  # truncated


def test_make_model_is_not_the_same_twice() -> None:
    """The seeds of the tiny models matter to the tests that compare two of them."""
    first, second = make_model("llama", seed=0), make_model("llama", seed=1)
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)
