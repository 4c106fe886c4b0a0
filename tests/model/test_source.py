"""Where a model comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.fixture_types import Make
from helpers.prune_runs import prune

from prosafeprune.errors import InputError
from prosafeprune.model.model_hash import model_hash
from prosafeprune.model.source import find_source


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, checkpoint: Make, tmp_path: Path) -> list[dict[str, object]]:
    """A hub whose cache holds links, as the real one does; give the calls made to it."""
    import huggingface_hub

    calls: list[dict[str, object]] = []
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "models--org--name" / "blobs"
    shutil.copytree(checkpoint("llama"), blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)

    def download(name: str, **options: object) -> str:
        calls.append({"name": name, **options})
        if name != "org/name":
            raise OSError("401 Client Error\nmore lines")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_a_hub_model_is_downloaded_without_pickles_and_its_commit_is_kept(hub: list[dict[str, object]]) -> None:
    source = find_source("org/name", "main")
    assert (source.is_hub, source.revision) == (True, "0123abcd")
    assert hub[0]["revision"] == "main"
    patterns = hub[0]["allow_patterns"]
    assert "*.safetensors" in patterns  # type: ignore[operator]
    assert not any("bin" in pattern or ".pt" in pattern for pattern in patterns)  # type: ignore[attr-defined]


def test_a_hub_model_is_pruned_into_real_files_and_named_in_the_card(
    hub: list[dict[str, object]], prompt_files: dict[str, str], tmp_path: Path
) -> None:
    prune("org/name", tmp_path / "out", prompt_files)
    assert not any(file.is_symlink() for file in (tmp_path / "out").iterdir())
    assert "base_model: org/name" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("reachable", "reason"), [(True, "401 Client Error"), (False, "no network")])
def test_a_hub_model_that_cannot_be_had_is_one_line(
    hub: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, reachable: bool, reason: str
) -> None:
    monkeypatch.setattr("prosafeprune.model.source.hub_is_reachable", lambda: reachable)
    with pytest.raises(InputError, match=reason) as caught:
        find_source("org/gated")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reachable", [True, False])
def test_a_hub_model_of_which_the_cache_holds_a_part_is_said_to_be_so_without_a_network(
    hub: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, reachable: bool, tmp_path: Path
) -> None:
    (tmp_path / "models--org--name" / "snapshots" / "0123abcd" / "model.safetensors").unlink()
    monkeypatch.setattr("prosafeprune.model.source.hub_is_reachable", lambda: reachable)
    with pytest.raises(InputError, match=r"holds no \.safetensors file") as caught:
        find_source("org/name")
    assert ("some may be missing" in str(caught.value)) == (not reachable)


def test_the_hash_changes_with_any_weight_and_with_the_config_alone(checkpoint: Make, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("llama"), folder)
    assert model_hash(folder) == model_hash(checkpoint("llama"))
    (folder / "README.md").write_text("another card")
    assert model_hash(folder) == model_hash(checkpoint("llama"))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert model_hash(folder) != model_hash(checkpoint("llama"))


def test_an_adapter_of_ours_is_merged_by_apply_which_keeps_its_record(tmp_path: Path) -> None:
    """Merged by other tools it would be a model without a past, which could lose the allowed points again."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="Merge it into its base first"):
        find_source(str(tmp_path))
    (tmp_path / "prosafeprune.json").write_text("{}")
    with pytest.raises(InputError, match=f"prosafeprune apply {tmp_path} BASE_MODEL -o MERGED"):
        find_source(str(tmp_path))
