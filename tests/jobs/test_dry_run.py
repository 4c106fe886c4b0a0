"""A dry run reads headers alone, whatever it is asked about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transformers
from helpers.fixture_types import Make, Run
from helpers.gguf_files import gguf_metadata, gguf_tensors, write_gguf
from helpers.quantised_checkpoints import dense_checkpoint, quantised_checkpoint
from helpers.sparse_checkpoints import refuse_to_read_data, sparse_checkpoint
from helpers.tiny_models import make_tokenizer

LARGE = {
    "model.embed_tokens.weight": ("BF16", (128, 64)),
    "model.layers.0.mlp.up_proj.weight": ("BF16", (2**19, 2**20)),  # 1.1 TB
    "model.layers.1.mlp.up_proj.weight": ("BF16", (64, 64)),
}


@pytest.fixture
def large(checkpoint: Make, tmp_path: Path) -> Path:
    """A model of 1.1 TB, of which only the files next to the weights and the header are real."""
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "large"))
    (folder / "model.safetensors").unlink()
    return sparse_checkpoint(folder, LARGE)


@pytest.fixture
def quantised_mixture(tmp_path: Path) -> Path:
    return quantised_checkpoint(tmp_path, "fp8", "qwen3_moe")[0]


@pytest.mark.parametrize("command", ["prune", "search"])
@pytest.mark.usefixtures("few_prompts")
def test_a_search_is_not_looked_for_by_the_hash_of_the_weights(
    command: str, run: Run, large: Path, search_options: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_read_data(monkeypatch)
    out, _ = run.ok(command, large, *search_options, "--dry-run")
    assert "kept in the cache" in " ".join(out.split())
    assert "1.1 TB" in out or "1099.5 GB" in out
    run.refused("Run prosafeprune search first", "prune", large, *search_options, "--choose", 1, "--dry-run")


@pytest.mark.usefixtures("few_prompts")
def test_a_kept_search_is_found_by_name_and_settings(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(checkpoint("llama"), tmp_path / "named"))
    run.ok("search", model, *search_options)
    other = Path(shutil.copytree(model, tmp_path / "another"))
    chosen = ["--choose", 1, "--dry-run"]
    refuse_to_read_data(monkeypatch)
    out, _ = run.ok("prune", model, *search_options, *chosen)
    assert "found by the search in" in " ".join(out.split())
    run.refused("no search with these settings is finished", "prune", model, *search_options, "--rank", 3, *chosen)
    out, _ = run.ok("prune", other, *search_options, "--dry-run")
    assert "kept in the cache" in " ".join(out.split())
    (model / "generation_config.json").write_text('{"temperature": 0.5}')
    run.refused("no search with these settings is finished", "prune", model, *search_options, *chosen)


@pytest.mark.usefixtures("few_prompts")
def test_a_named_search_is_checked_as_far_as_headers_go(
    run: Run, checkpoint: Make, search_options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosafeprune.jobs.search.select_point", lambda *_: 1)
    model = Path(shutil.copytree(checkpoint("llama"), tmp_path / "named"))
    named = ["prune", model, "--search", tmp_path / "search", *search_options, "--dry-run"]
    run.ok("search", model, "-o", tmp_path / "search", *search_options)
    refuse_to_read_data(monkeypatch)
    _, err = run.ok(*named)
    assert "is checked by the run, which hashes them" in " ".join(err.split())
    run.ok(*named, "--choose", 1)
    (model / "generation_config.json").write_text('{"temperature": 0.5}')
    run.refused("was made with other settings (companions", *named)
    run.refused("another tokenizer, chat template or generation config", *named, "--choose", 1)


def test_a_quantised_mixture_of_experts_has_no_row_for_an_adapter(
    run: Run, checkpoint: Make, quantised_mixture: Path
) -> None:
    for architecture in ("llama", "qwen3_moe"):
        out, _ = run.ok("prune", checkpoint(architecture), "--layers", 1, "--dry-run")
        assert "given layers, adapter" in out
    out, _ = run.ok("prune", quantised_mixture, "--layers", 1, "--dry-run")
    assert "given layers, adapter" not in out
    assert "No adapter: model.layers.1.mlp.experts.0.gate: is one of a quantised" in " ".join(out.split())


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_adapter_that_cannot_be_is_refused_before_anything_is_converted_or_loaded(
    more: list[str], run: Run, quantised_mixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for done in ("checkpoint_folder", "load_run"):
        monkeypatch.setattr(f"prosafeprune.jobs.prune.{done}", lambda *_: pytest.fail("converted or loaded"))
    asked = ["prune", quantised_mixture, "--layers", 1, "--format", "adapter", "-o", tmp_path / "out", *more]
    run.refused("mlp.experts.0.gate: is one of a quantised model's experts", *asked)
    assert not (tmp_path / "out").exists()


def test_a_quantised_model_runs_in_as_much_memory_as_its_16_bit_form(run: Run, tmp_path: Path) -> None:
    quantised, dense = quantised_checkpoint(tmp_path, "gptq")
    options = ["--layers", 1, "--rank", 4, "--dry-run"]
    shown = {folder: run.ok("prune", folder, *options)[0] for folder in (quantised, dense)}
    memory = [next(line for line in out.splitlines() if "Memory: about" in line) for out in shown.values()]
    assert memory[0] == memory[1]
    assert "in 16 bits" in shown[quantised] and "conversion to 16 bits" in shown[quantised]
    assert "in 16 bits" not in shown[dense]
    assert "given layers, --dequantise" in shown[quantised]
    assert "The model is first written in 16 bits" in " ".join(shown[quantised].split())


def test_a_gguf_has_its_own_ways(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("prosafeprune.model.gguf.convert_gguf", lambda *_: pytest.fail("converted"))
    model = transformers.AutoModelForCausalLM.from_pretrained(dense_checkpoint(tmp_path / "dense"))
    metadata, tensors = gguf_metadata(model.config) | {"rope.dimension_count": 16}, gguf_tensors(model, "llama")
    file = write_gguf(tmp_path / "tiny.gguf", "llama", metadata, tensors, tokenizer=make_tokenizer())
    out, _ = run.ok("prune", file, "--layers", 1, "--dry-run")
    shown = " ".join(out.split())
    assert "3 layers" in shown and "in 16 bits" in shown
    assert "given layers, gguf" in shown and "--memory low" not in shown
