"""What a run in low memory tells: its needs beforehand, and afterwards, in words, that nothing was measured."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from helpers.architectures import SMALL
from helpers.fixture_types import Make, Run
from helpers.killed_runs import kill_at
from helpers.pages import measurement
from helpers.pages import record as measured_record
from helpers.tiny_models import make_tokenizer
from safetensors.torch import load_file, save_file

import prosafeprune
from prosafeprune.checkpoint.writer import OF_A_RUN
from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import EVIDENCE_FILE
from prosafeprune.files.staging import MANIFEST, RECORD_FILE
from prosafeprune.jobs.calibrated_plan import run_search
from prosafeprune.jobs.prune import COST_FILE
from prosafeprune.method.plan import Plan
from prosafeprune.progress import SilentReporter
from prosafeprune.report.page import REPORT_FILE
from prosafeprune.report.rate_figure import SHARE_FILE
from prosafeprune.report.record import Record, UnmeasuredRecord
from prosafeprune.requests.recipe import make_recipe

SETTINGS = {"layers": "1-2", "rank": 4, "device": "cpu", "only_mine": True}


def prune(source: Path, output: Path, files: dict[str, str], **settings: Any) -> prosafeprune.PruneUnmeasuredResult:
    return prosafeprune.prune_unmeasured(source, output, progress=False, **{**SETTINGS, **files, **settings})


def options(files: dict[str, str], **settings: object) -> list[str]:
    given = {**SETTINGS, "memory": "low", **files, **settings}
    del given["only_mine"]
    return ["--only-mine"] + [
        text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def test_the_command_tells_needs_first_and_that_nothing_was_measured(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    out, err = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", "--unmeasured", *options(prompt_files))
    assert out.count("not measured") == 3  # the title and both rows of scores
    assert "%" not in out
    assert err.index("of memory in addition to Python") < err.index("Layers, one at a time")
    assert "Warning: Not measured" in err
    assert "without --memory low and --unmeasured it is measured" in " ".join(err.split())  # a tiny model fits
    record = json.loads((tmp_path / "out/prosafeprune.json").read_text())
    assert record["measured"] is False
    assert "it is unknown" in record["not_measured"]
    assert not {
        "source",
        "result",
        "changes",
        "safety_change",
        "compliance_change",
        "benign_divergence",
        "judge",
    } & set(record)
    card = (tmp_path / "out/README.md").read_text()
    assert "pruned to reduce over-refusal, not measured" in card
    assert "it is unknown whether it still refuses" in card
    assert "evaluate --endpoint" in card
    assert "- not-measured" in card
    assert "Its own card." in card
    assert "S.S." not in card
    assert "95 %" not in card
    assert not (tmp_path / "out/prosafeprune_answers.jsonl").exists()


def test_what_a_pruned_base_model_was_measured_on_is_not_passed_on(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    base = Path(shutil.copytree(checkpoint("llama"), tmp_path / "base"))
    record = measured_record(measurement(40, 95), measurement(60, 95), Plan(layers=(1,)), layers="1")
    record.model_copy(update={"benign_divergence": None}).write(base)
    documents = {REPORT_FILE, SHARE_FILE, EVIDENCE_FILE, COST_FILE, MANIFEST}
    for name in (*documents, "LICENSE"):
        (base / name).write_text("of the base model")
    prune(base, tmp_path / "out", prompt_files)
    kept = {file.name for file in (tmp_path / "out").iterdir() if "of the base model" in file.read_text("latin-1")}
    assert kept == {"LICENSE"} and not (tmp_path / "out" / REPORT_FILE).exists()
    assert documents | {RECORD_FILE} == set(OF_A_RUN)


def test_json_is_the_record(run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    arguments = ["--unmeasured", "--json", *options(prompt_files)]
    out, _ = run.ok("prune", checkpoint("llama"), "-o", tmp_path / "out", *arguments)
    assert json.loads(out) == json.loads((tmp_path / "out/prosafeprune.json").read_text())


def test_an_unmeasured_record_is_never_read_as_a_measured_one(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = prune(checkpoint("llama"), tmp_path / "out", prompt_files)
    text = (tmp_path / "out/prosafeprune.json").read_text()
    assert UnmeasuredRecord.model_validate_json(text) == result.record
    with pytest.raises(ValueError, match="measured"):
        Record.model_validate_json(text)


def test_it_is_what_the_measured_run_writes(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> None:
    source = checkpoint("llama")
    settings: dict[str, Any] = {
        **SETTINGS,
        **prompt_files,
        "max_new_tokens": 1,
        "max_safety_drop": 100,
        "accept_unsafe": True,
    }
    measured = prosafeprune.prune(source, tmp_path / "measured", progress=False, **settings).record
    record = prune(source, tmp_path / "out", prompt_files).record
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "measured" / name).read_bytes()
    assert record.submodules == measured.submodules
    assert (record.model, record.plan, record.calibration) == (measured.model, measured.plan, measured.calibration)
    assert record.edited_tensors == measured.edited_tensors
    assert record.run.calibration_batch_sizes == measured.run.calibration_batch_sizes


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"memory": "low", "unmeasured": True, "layers": None}, "needs the layers to prune"),
        ({"unmeasured": True}, "only for models larger than memory"),
        ({"memory": "low", "unmeasured": True, "suite": "paper"}, "takes no suite, benchmark"),
        ({"memory": "low", "unmeasured": True, "benchmark": "xstest-safe"}, "takes no suite, benchmark"),
        ({"memory": "low", "unmeasured": True, "format": "adapter"}, "only complete checkpoints"),
        ({"memory": "lower"}, "memory: "),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe(**{"model": "x", "layers": "1", **settings})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_of_zeros_alone_is_refused(
    run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(checkpoint("llama"), tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    zeros = {
        name: torch.zeros_like(tensor) for name, tensor in tensors.items() if "layers.1." in name and tensor.ndim == 2
    }
    save_file({**tensors, **zeros}, source / "model.safetensors", {"format": "pt"})
    code, _, err = run("prune", source, "-o", tmp_path / "out", "--unmeasured", *options(prompt_files, layers="1"))
    assert (code, err.count("--layers 1: every matrix of this layer is all zeros")) == (2, 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "OUT"], "--unmeasured"),
        (["--unmeasured"], "needs a folder to write"),
        (["-o", "OUT", "--unmeasured", "--choose", "1"], "need the complete model in memory"),
        (["-o", "OUT", "--unmeasured", "--ray", "auto"], "need the complete model in memory"),
        (["-o", "OUT", "--unmeasured", "--layers", "7"], "the model has 3 layers"),
    ],
)
def test_wrong_commands_are_one_line_and_write_nothing(
    arguments: list[str], told: str, run: Run, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    given = [str(tmp_path / "out") if argument == "OUT" else argument for argument in arguments]
    code, out, err = run("prune", checkpoint("llama"), *options(prompt_files), *given)
    assert code == 2
    assert out == ""
    assert told in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_gguf_is_refused(prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("prosafeprune.setup.prepare.converted_bytes", lambda path: 1)
    with pytest.raises(InputError, match="give a folder of safetensors"):
        prune(tmp_path / "model.gguf", tmp_path / "out", prompt_files)


def test_a_search_and_a_measured_run_do_not_load_the_model(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    asked = make_recipe(model=str(checkpoint("llama")), memory="low", unmeasured=True, **SETTINGS, **prompt_files)
    with pytest.raises(InputError, match="complete model must be in memory"):
        run_search(asked, tmp_path / "search", SilentReporter())
    with pytest.raises(InputError, match="call prune_unmeasured"):
        prosafeprune.prune(
            checkpoint("llama"), None, progress=False, memory="low", unmeasured=True, **SETTINGS, **prompt_files
        )


@pytest.mark.parametrize("step", ["make_edits", "write_documents"])
def test_an_interruption_leaves_no_output(
    step: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*given: object) -> None:
        assert all(path.name.startswith(".out.") for path in (tmp_path / "place").iterdir())  # being written, claimed
        raise KeyboardInterrupt

    monkeypatch.setattr(f"prosafeprune.jobs.prune_unmeasured.{step}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prune(checkpoint("llama"), tmp_path / "place" / "out", prompt_files)
    assert not (tmp_path / "place").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prosafeprune.checkpoint.safetensors_file.StoredTensor.overwrite", fail)
    with pytest.raises(InputError, match="No space left on device"):
        prune(checkpoint("llama"), tmp_path / "place" / "out", prompt_files)
    assert not (tmp_path / "place").exists()


@pytest.mark.long
def test_a_kill_between_layers_leaves_no_output_and_the_next_run_cleans_up(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    source, output = checkpoint("llama"), tmp_path / "place" / "out"
    stop = "prosafeprune.jobs.prune_unmeasured.make_edits"
    kill_at(stop, "prune_unmeasured", str(source), str(output), **SETTINGS, **prompt_files)
    assert not output.exists()
    prune(source, output, prompt_files)
    assert [path.name for path in output.parent.iterdir()] == ["out"]


MEASURED = """
import json
from pathlib import Path
import prosafeprune.jobs.prune_unmeasured as unmeasured
from prosafeprune.requests.recipe import make_recipe
def read():
    return int(next(line for line in Path("/proc/self/io").open() if line.startswith("rchar")).split()[1])
def resident(name):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(name + ":")[2].split()[0])
needs, estimate = [], unmeasured.estimate_needs
unmeasured.estimate_needs = lambda *given: needs.append(estimate(*given)) or needs[0]
settings = dict(memory="low", unmeasured=True, **{settings!r})
unmeasured.run_prune_unmeasured(make_recipe(model={warm!r}, **settings), Path({output!r}) / "warm")
del needs[:]
before, resident_before = read(), resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # begin the high-water mark anew
unmeasured.run_prune_unmeasured(make_recipe(model={source!r}, **settings), Path({output!r}) / "out")
one = needs[0]
told = dict(memory=one.memory, checkpoint=one.checkpoint)
print(json.dumps(dict(told=told, read=read() - before, peak=resident("VmHWM") - resident_before)))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count what a process reads")
def test_needs_told_beforehand_are_what_is_taken_and_every_byte_is_read_once(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """A model of 12 layers, whose weights take five times what one layer and its edit do."""
    config = transformers.LlamaConfig(
        hidden_size=512, intermediate_size=4096, num_hidden_layers=12, num_attention_heads=4, **SMALL
    )
    source = tmp_path / "source"
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(source, max_shard_size="100MB")
    make_tokenizer().save_pretrained(source)
    code = MEASURED.format(
        source=str(source), warm=str(checkpoint("llama")), output=str(tmp_path), settings={**SETTINGS, **prompt_files}
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    written = sum(file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors"))
    assert written == size
    assert found["told"]["checkpoint"] == pytest.approx(size, rel=0.01)
    assert size <= found["read"] <= 1.1 * size
    assert found["peak"] < size / 2
    assert found["told"]["memory"] / 3 < found["peak"] < 2 * found["told"]["memory"]
