"""The weights of a written folder: their hash is in the record, and only those are uploaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make
from helpers.prune_runs import prune
from helpers.reporters import KeptWarnings
from helpers.written_models import written
from safetensors.torch import save_file

from prosafeprune.errors import InputError
from prosafeprune.jobs.written_weights import require_recorded_weights, with_weights_hash
from prosafeprune.model.model_hash import model_hash
from prosafeprune.progress import SILENT
from prosafeprune.report.record import Record, read_record


def checkpoint_of(folder: Path) -> Record:
    """Return the record of a folder as it was written, with two shards and the hash of both."""
    written(folder)
    for number in (1, 2):
        shard = folder / f"model-0000{number}-of-00002.safetensors"
        save_file({f"layer.{number}": torch.full((4, 4), float(number))}, shard)
    record = with_weights_hash(read_record(folder), folder)
    record.write(folder)
    return record


def test_the_weights_that_were_written_are_recognised(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    record = checkpoint_of(folder)
    assert read_record(folder).weights_sha256 == record.weights_sha256 == model_hash(folder)
    (folder / "README.md").write_text("A card that its user changed.")
    require_recorded_weights(folder, read_record(folder), SILENT)


@pytest.mark.parametrize("change", ["a value", "another config", "one shard more", "one shard less", "no config"])
def test_weights_that_changed_since_are_refused(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "out"
    record = checkpoint_of(folder)
    if change == "a value":
        save_file({"layer.2": torch.full((4, 4), 2.5)}, folder / "model-00002-of-00002.safetensors")
    elif change == "another config":
        (folder / "config.json").write_text('{"num_hidden_layers": 1}')
    elif change == "one shard more":
        save_file({"layer.3": torch.ones(1)}, folder / "model-00003-of-00003.safetensors")
    elif change == "one shard less":
        (folder / "model-00002-of-00002.safetensors").unlink()
    else:
        (folder / "config.json").unlink()
    with pytest.raises(InputError, match="Make the model again"):
        require_recorded_weights(folder, record, SILENT)


@pytest.mark.parametrize("content", [b"another", None])
def test_an_adapter_that_changed_since_is_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = written(tmp_path / "out", format="adapter")
    record = read_record(folder).model_copy(update={"adapter_sha256": "0" * 64})
    assert with_weights_hash(record, folder) is record
    if content is not None:
        (folder / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors\) are not those of its record"):
        require_recorded_weights(folder, record, SILENT)


@pytest.mark.parametrize("architecture", ["phi3", "mixtral"])
def test_an_adapter_that_is_scaled_since_is_refused(
    architecture: str, checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    """Its weights are the same, and it does more or less than was measured."""
    folder = tmp_path / "out"
    prune(checkpoint(architecture), folder, prompt_files, format="adapter")
    require_recorded_weights(folder, read_record(folder), SILENT)
    file = folder / "adapter_config.json"
    written = json.loads(file.read_text())
    for name, value in (
        ("lora_alpha", 40),
        ("alpha_pattern", {"q": 40}),
        ("use_rslora", True),
        ("exclude_modules", "q"),
    ):
        file.write_text(json.dumps({**written, name: value}))
        with pytest.raises(InputError, match=rf"adapter_config\.json was changed \({name}\)"):
            require_recorded_weights(folder, read_record(folder), SILENT)
    file.write_text(json.dumps({**written, "base_model_name_or_path": "org/other"}))
    require_recorded_weights(folder, read_record(folder), SILENT)


def test_an_older_record_has_no_hash_and_a_warning_says_so(tmp_path: Path) -> None:
    folder, reporter = written(tmp_path / "out"), KeptWarnings()
    require_recorded_weights(folder, read_record(folder), reporter)
    (warning,) = reporter.lines
    assert "was not checked" in warning


def test_prune_records_the_hash_of_what_it_writes(
    checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path
) -> None:
    result = prune(checkpoint("llama"), tmp_path / "out", prompt_files)
    record = read_record(tmp_path / "out")
    assert record.weights_sha256 == model_hash(tmp_path / "out")
    assert result.record == record
    require_recorded_weights(tmp_path / "out", record, SILENT)
