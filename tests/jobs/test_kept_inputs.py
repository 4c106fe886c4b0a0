"""Activations are kept in the cache by hashes, and are the same as when they are computed anew."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.fixture_types import Make
from helpers.prune_runs import prune

from prosafeprune.files.cache import cache_folder
from prosafeprune.setup import calibrate, kept_inputs


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The layers of each pass over the calibration prompts."""
    calls: list[list[int]] = []
    collect = calibrate.collect_pooled_inputs

    def counted(model: Any, anatomy: Any, prompts: Any, poolings: Any, layers: Any, *more: Any) -> Any:
        calls.append(list(layers))
        return collect(model, anatomy, prompts, poolings, layers, *more)

    monkeypatch.setattr(calibrate, "collect_pooled_inputs", counted)
    return calls


@pytest.mark.long
def test_layers_that_were_seen_before_need_no_pass_and_give_the_same_edits(
    checkpoint: Make, prompt_files: dict[str, str], passes: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = prune(checkpoint("llama"), None, prompt_files, layers="1-2")
    assert passes == [[1, 2]]
    again = prune(checkpoint("llama"), None, prompt_files, layers="2", strength=0.3)
    assert passes == [[1, 2]]
    assert again.record.run.calibration_batch_sizes == both.record.run.calibration_batch_sizes
    monkeypatch.setattr(kept_inputs.KeptInputs, "read", lambda *_: None)
    anew = prune(checkpoint("llama"), None, prompt_files, layers="2", strength=0.3)
    assert passes == [[1, 2], [2]]
    assert anew.record == again.record


@pytest.mark.long
@pytest.mark.parametrize("other", [{"batch_size": 3}, {"system": "Be kind."}, {"pooling": "last"}, {"samples": 9}])
def test_inputs_of_another_run_are_not_taken(
    checkpoint: Make, prompt_files: dict[str, str], passes: list[list[int]], other: dict[str, Any]
) -> None:
    prune(checkpoint("llama"), None, prompt_files, layers="1")
    prune(checkpoint("llama"), None, prompt_files, layers="1", **other)
    assert passes == [[1], [1]]


def test_inputs_of_a_model_with_other_code_are_not_taken(
    checkpoint: Make, prompt_files: dict[str, str], passes: list[list[int]], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(checkpoint("llama"), tmp_path / "own"))
    prune(own, None, prompt_files, layers="1")
    (own / "modeling_own.py").write_text("SCALE = 1\n")
    prune(own, None, prompt_files, layers="1")
    prune(own, None, prompt_files, layers="1", strength=0.3)
    (own / "modeling_own.py").write_text("SCALE = 2\n")
    prune(own, None, prompt_files, layers="1")
    assert passes == [[1], [1], [1]]


def test_a_damaged_file_is_made_again(checkpoint: Make, prompt_files: dict[str, str], passes: list[list[int]]) -> None:
    first = prune(checkpoint("llama"), None, prompt_files, layers="1")
    (file,) = (cache_folder() / "activations").glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    assert prune(checkpoint("llama"), None, prompt_files, layers="1").record == first.record
    assert passes == [[1], [1]]


@pytest.mark.long
def test_the_oldest_are_removed_where_there_is_no_room(
    checkpoint: Make, prompt_files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prune(checkpoint("llama"), None, prompt_files, layers="1")
    (first,) = (cache_folder() / "activations").iterdir()
    size = sum(file.stat().st_size for file in first.iterdir())
    monkeypatch.setattr(kept_inputs, "MOST_BYTES", 1.5 * size)
    prune(checkpoint("llama"), None, prompt_files, layers="1", system="Be kind.")
    (second,) = (cache_folder() / "activations").iterdir()
    assert second != first
    prune(checkpoint("llama"), None, prompt_files, layers="2", system="Be kind.")
    assert len(list((cache_folder() / "activations").glob("*/*.safetensors"))) == 2  # one more layer of the second
    monkeypatch.setattr(kept_inputs, "MOST_BYTES", 2.5 * size)
    prune(checkpoint("llama"), None, prompt_files, layers="1")  # three times the size, with both layers kept: too much
    assert second not in (cache_folder() / "activations").iterdir()
    monkeypatch.setattr(kept_inputs, "MOST_BYTES", 10)
    prune(checkpoint("llama"), None, prompt_files, layers="1", system="Be brief.")
    assert [file.name for file in (cache_folder() / "activations").glob("*/*.safetensors")] == ["tail-1.safetensors"]
