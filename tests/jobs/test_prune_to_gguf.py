"""GGUF in, GGUF out: the file measured is the one written, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from helpers import gguf_files
from helpers.fixture_types import Run
from helpers.gguf_files import gguf_metadata, gguf_tensors
from helpers.prune_runs import prune
from helpers.quantised_checkpoints import dense_checkpoint
from helpers.random_edits import random_edits
from helpers.tiny_models import make_tokenizer

from prosafeprune.checkpoint import gguf_edits
from prosafeprune.checkpoint.gguf_edits import GgufEdits, GgufRowFinder, keeps_type
from prosafeprune.errors import InputError
from prosafeprune.evaluation.lineage import read_lineage
from prosafeprune.jobs.safety_gate import SafetyFloorError
from prosafeprune.model import gguf_comparison
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.gguf import read_gguf
from prosafeprune.model.gguf_comparison import GgufComparison
from prosafeprune.model.gguf_file import write_gguf
from prosafeprune.model.source import find_source
from prosafeprune.progress import ignore

TYPES = {"attn_q": "Q8_0", "attn_k": "F16", "attn_v": "BF16", "ffn_gate": "Q4_0", "ffn_up": "Q5_1", "ffn_down": "F32"}


def write_base(file: Path, architecture: str = "llama", **types: str) -> Path:
    """Write a tiny GGUF whose matrices have several types; an attention output is a K-quant's bytes."""
    import transformers

    folder = dense_checkpoint(file.parent / "dense", architecture)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    metadata, tensors = gguf_metadata(model.config) | {"rope.dimension_count": 16}, gguf_tensors(model, architecture)
    return gguf_files.write_gguf(
        file, architecture, metadata, tensors, tokenizer=make_tokenizer(), types={**TYPES, **types}
    )


def tensors_of(file: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(file).tensors}


@pytest.mark.long
def test_only_the_edited_tensors_of_the_file_change(
    prompt_files: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compared = GgufComparison(divergence=0.00123, limit=0.02, positions=16, version="1")
    monkeypatch.setattr(gguf_comparison, "ask_llama_cpp", lambda *_: "predictions")
    monkeypatch.setattr(gguf_comparison, "compare", lambda *_: compared)
    base = write_base(tmp_path / "tiny.gguf")
    result = prune(base, tmp_path / "out", prompt_files, format="gguf")
    assert result.record.model.gguf_comparison == compared
    assert "mean KL 0.0012 over 16 positions" in (tmp_path / "out" / "report.html").read_text()
    before, after = tensors_of(base), tensors_of(tmp_path / "out" / "tiny.gguf")
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name].data, after[name].data)}
    assert changed == set(result.record.edited_tensors)
    assert {name.split(".")[1] for name in changed} == {"1", "2"}
    assert all(before[name].tensor_type == after[name].tensor_type for name in before)
    fields, written = GGUFReader(base).fields, GGUFReader(tmp_path / "out" / "tiny.gguf").fields
    kept = [name for name in fields if not name.startswith("GGUF.")]
    assert all(fields[name].contents() == written[name].contents() for name in kept)
    assert written.keys() - fields.keys() == {"prosafeprune.record"}

    # What is written, loaded afresh, has the weights that were measured.
    read, _ = read_gguf(tmp_path / "out" / "tiny.gguf")
    measured = result.loaded.model.state_dict()
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor.to(measured[name].dtype), measured[name]), name

    # The lineage is in the file, wherever it goes.
    alone = tmp_path / "elsewhere.gguf"
    alone.write_bytes((tmp_path / "out" / "tiny.gguf").read_bytes())
    assert read_lineage(alone).steps[0].sha256 == result.record.model.sha256
    assert read_lineage(base).steps == []
    assert find_source(str(tmp_path / "out")).path.name == "tiny.gguf"


def test_the_edit_in_the_file_is_that_of_the_dequantised_rows(tmp_path: Path) -> None:
    base = write_base(tmp_path / "tiny.gguf")
    model, _ = read_gguf(base)
    found = random_edits(model, [1])
    q = next(edit for edit in found if edit.submodule.kind == "q")
    expected = q.edited(q.submodule.weight())
    edits = GgufEdits(base, found)
    undone = model.state_dict()["model.layers.1.self_attn.q_proj.weight"].clone()
    edits.apply_in_memory(ignore)
    (tmp_path / "out").mkdir()
    edits.write(tmp_path / "out", ignore)
    with edits.undone_in_memory():
        assert torch.equal(q.submodule.stored, undone)
    stored = tensors_of(tmp_path / "out" / "tiny.gguf")["blk.1.attn_q.weight"]
    values = torch.from_numpy(dequantize(stored.data, stored.tensor_type).astype(np.float32))
    # Llama's converter reorders the rows of q within each of the four heads.
    reordered = expected.reshape(4, 2, -1, 64).swapaxes(1, 2).reshape(64, 64)
    assert (values - reordered).abs().max() < 0.02 * reordered.abs().max()  # 8 bits


def test_an_ending_in_capitals_is_written_as_it_is_looked_for(tmp_path: Path) -> None:
    """The finished folder was refused as one without weights."""
    base = write_base(tmp_path / "TINY.GGUF")
    assert find_source(str(tmp_path)).path.name == "TINY.GGUF"
    edits = GgufEdits(base, random_edits(read_gguf(base)[0], [1]))
    edits.apply_in_memory(ignore)
    (tmp_path / "out").mkdir()
    edits.write(tmp_path / "out", ignore)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["TINY.gguf"]


def test_a_folder_of_several_gguf_files_is_one_line_that_names_one(tmp_path: Path) -> None:
    for name in ("tiny-Q8_0.gguf", "tiny-F16.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"holds 2 GGUF files. Give one of them, such as .*/tiny-F16\.gguf"):
        find_source(str(tmp_path))


def test_a_type_is_kept_where_the_package_can_quantise_to_it() -> None:
    kept = {kind.name for kind in GGMLQuantizationType if keeps_type(kind)}
    assert kept >= {"F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"}
    assert not {name for name in kept if name.startswith(("IQ", "TQ", "Q1"))}


@pytest.mark.parametrize("can_be_written", [True, False])
def test_edited_tensors_keep_their_type_or_become_f16(
    can_be_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_base(tmp_path / "tiny.gguf", ffn_down="MXFP4")
    model, _ = read_gguf(base)
    monkeypatch.setattr(gguf_edits, "keeps_type", lambda kind: can_be_written or kind.name != "MXFP4")
    edits = GgufEdits(base, random_edits(model, [1]))
    assert ("1 edited tensors (MXFP4) become F16." in edits.describe()) is not can_be_written
    edits.apply_in_memory(ignore)
    (tmp_path / "out").mkdir()
    edits.write(tmp_path / "out", ignore)
    after = tensors_of(tmp_path / "out" / "tiny.gguf")
    written = GGMLQuantizationType.MXFP4 if can_be_written else GGMLQuantizationType.F16
    assert after["blk.1.ffn_down.weight"].tensor_type == written
    assert after["blk.2.ffn_down.weight"].tensor_type == GGMLQuantizationType.MXFP4
    again, _ = read_gguf(tmp_path / "out" / "tiny.gguf")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_file_that_differs_from_what_was_measured_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_base(tmp_path / "tiny.gguf")
    edits = GgufEdits(base, random_edits(read_gguf(base)[0], [1]))
    edits.apply_in_memory(ignore)

    def write_another(file: Path, readers: Any, *_: Any) -> None:
        write_gguf(file, readers)

    monkeypatch.setattr("prosafeprune.checkpoint.gguf_edits.write_gguf", write_another)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="not the model that was measured"):
        edits.write(tmp_path / "out", ignore)


def test_equal_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    base = write_base(tmp_path / "tiny.gguf")
    model, _ = read_gguf(base)
    q = next(submodule for submodule in find_anatomy(model).of_layer(1) if submodule.kind == "q")
    tensors = tensors_of(base)
    finder = GgufRowFinder(tensors)
    assert sorted(finder.find(q).rows.tolist()) == list(range(64))
    finder._values["blk.1.attn_q.weight"][3] = finder._values["blk.1.attn_q.weight"][5]
    with pytest.raises(InputError, match="no tensor of the GGUF holds this matrix"):
        finder.find(q)


@pytest.mark.long
def test_the_safety_floor_keeps_a_gguf_from_being_written(prompt_files: dict[str, str], tmp_path: Path) -> None:
    base = write_base(tmp_path / "tiny.gguf")
    settings = {"format": "gguf", "accept_unsafe": False, "max_safety_drop": 3}  # a model of noise refuses nothing
    with pytest.raises(SafetyFloorError):
        prune(base, tmp_path / "out", prompt_files, **settings)
    assert not (tmp_path / "out").exists()


def test_gguf_out_needs_gguf_in(run: Run, tmp_path: Path) -> None:
    folder = dense_checkpoint(tmp_path / "dense")
    run.refused("is not a GGUF file", "prune", folder, "-o", tmp_path / "out", "--format", "gguf", "--layers", 1)
