"""A dry run of a hub model fetches its small files and the headers of its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from helpers.fixture_types import Make, Run
from helpers.hub_files import COMMIT, NAME, HubFiles, hub_files
from helpers.quantised_checkpoints import quantised_checkpoint
from helpers.sparse_checkpoints import sparse_checkpoint
from safetensors.torch import save_file

from prosafeprune.errors import InputError
from prosafeprune.model import hub_headers
from prosafeprune.model.hub_headers import source_without_weights
from prosafeprune.model.shard_header import read_shard_header
from prosafeprune.model.source import ModelSource
from prosafeprune.setup.source_shape import SourceShape

SMALL = 3 * hub_headers.FIRST_BYTES
Serve = Callable[..., HubFiles]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serve]:
    """Give a function that serves a folder as ``org/tiny``, with an empty cache here."""
    with ExitStack() as stack:

        def serving(folder: Path, **options: bool) -> HubFiles:
            hub = stack.enter_context(hub_files(folder, **options))
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
            template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
            return hub

        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield serving


@pytest.fixture
def large(checkpoint: Make, tmp_path: Path) -> Path:
    """A model of 34 GB, of which only the files next to the weights and the header are real."""
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "large"))
    (folder / "model.safetensors").unlink()
    tensors = {f"model.layers.{layer}.mlp.up_proj.weight": ("BF16", (2**16, 2**17)) for layer in range(2)}
    return sparse_checkpoint(folder, tensors)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["prune", NAME, "--layers", 1, "--rank", 4], "34.4 GB of weights"),
        (["search", NAME, "--rank", 4], "34.4 GB of weights"),
        (["evaluate", NAME], "time of the answers"),
        (["compare", NAME, "--layers", 1, "--rank", 4], "time of the answers"),
    ],
)
@pytest.mark.usefixtures("few_prompts")
def test_no_weights_are_fetched(
    options: list[object],
    shown: str,
    run: Run,
    large: Path,
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = serve(large)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out, _ = run.ok(*options, "--dry-run")
    assert shown in " ".join(out.split())
    assert 0 < hub.sent["model.safetensors"] < SMALL
    assert hub.sent["config.json"] == (large / "config.json").stat().st_size  # once
    assert not list((tmp_path / "hub").rglob("*.safetensors"))
    assert not list(tmp_path.glob("prosafeprune-headers-*"))  # it is removed again


def adapter_on(base: str, folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    save_file({"base_model.model.q.lora_A.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.usefixtures("few_prompts")
def test_of_an_adapter_the_base_models_weights_are_not_fetched(
    run: Run, large: Path, serve: Serve, tmp_path: Path
) -> None:
    hub = serve(large)
    adapter = adapter_on(NAME, tmp_path / "adapter")
    out, _ = run.ok("evaluate", adapter, "--dry-run")
    assert "time of the answers" in out
    assert 0 < hub.sent["model.safetensors"] < SMALL
    run.refused("would run the code of the base model", "evaluate", adapter, "--dry-run", "--trust-remote-code")


@pytest.mark.usefixtures("few_prompts")
def test_an_adapter_on_the_hub_is_fetched_for_the_name_of_its_base(
    run: Run, checkpoint: Make, serve: Serve, tmp_path: Path
) -> None:
    adapter = adapter_on(str(checkpoint("llama")), tmp_path / "adapter")
    serve(adapter)
    out, err = run.ok("evaluate", NAME, "--dry-run")
    assert "time of the answers" in out
    assert "is an adapter: its base model is" in " ".join(err.split())


def test_headers_on_the_hub_are_those_of_the_files(
    checkpoint: Make, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("llama")
    serve(folder)
    monkeypatch.setattr(hub_headers, "FIRST_BYTES", 100)  # the rest is asked for
    with source_without_weights(NAME) as source:
        assert (source.name, source.is_hub, source.revision) == (NAME, True, COMMIT)
        assert SourceShape.of(source) == SourceShape.of(ModelSource("local", folder))
        fetched, own = source.path / "model.safetensors", folder / "model.safetensors"
        assert fetched.stat().st_size == own.stat().st_size
        assert read_shard_header(fetched) == read_shard_header(own)


@pytest.mark.parametrize("kind", ["fp8", "compressed_int4", "bitsandbytes_4_bits"])
def test_a_quantised_model_in_shards_is_sized_from_headers_and_what_says_how_it_is_packed(
    kind: str, serve: Serve, tmp_path: Path
) -> None:
    folder, _ = quantised_checkpoint(tmp_path, kind)
    hub = serve(folder)
    with source_without_weights(NAME) as source:
        method = source.quantisation
        assert method is not None
        assert SourceShape.of(source) == SourceShape.of(ModelSource("local", folder, quantisation=method))
    assert sum(name.endswith(".safetensors") for name in hub.sent) == 2


def test_shards_that_are_in_the_cache_are_used_from_there(checkpoint: Make, serve: Serve) -> None:
    from huggingface_hub import snapshot_download

    hub = serve(checkpoint("llama"))
    snapshot_download(NAME)
    hub.sent.clear()
    with source_without_weights(NAME) as source:
        assert (source.path / "model.safetensors").is_symlink()
        assert SourceShape.of(source).shape.size.layers == 3
    assert "model.safetensors" not in hub.sent


def test_a_server_that_sends_no_parts_is_one_line(checkpoint: Make, serve: Serve) -> None:
    serve(checkpoint("llama"), in_parts=False)
    with pytest.raises(InputError, match="does not send parts of files") as caught, source_without_weights(NAME):
        pass
    assert "\n" not in str(caught.value)
