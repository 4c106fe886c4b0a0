"""A model on disk and in memory, the edits of a plan, and the adapter and the checkpoint made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel

from prosafeprune.checkpoint.adapter import LoraAdapter
from prosafeprune.checkpoint.writer import EditedTensors, locate_tensors
from prosafeprune.editing.edits import PruningEdit
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import ModelSource
from prosafeprune.progress import ignore

PLAN = Plan(layers=(0, 2), rank=4, strength=(0.8, 0.5), pooling=Pooling.TAIL)
IDS = torch.arange(5, 45).view(2, 20)


@dataclass
class EditedModel:
    """A source on disk, the model in memory, and the edits of a plan."""

    folder: Path
    source: ModelSource
    loaded: LoadedModel
    edits: list[PruningEdit]

    @property
    def anatomy(self) -> Anatomy:
        return find_anatomy(self.loaded.model)

    def lora(self, edits: list[PruningEdit] | None = None) -> LoraAdapter:
        edits = edits or self.edits
        located = locate_tensors(self.folder, [edit.submodule for edit in edits])
        return LoraAdapter(self.loaded, self.source, located, edits)

    def adapter(self, folder: Path, edits: list[PruningEdit] | None = None) -> Path:
        folder.mkdir()
        self.lora(edits).write(folder, ignore)
        return folder

    def checkpoint(self, folder: Path, strength: float = 1.0) -> Path:
        edits = [replace(edit, strength=strength * edit.strength) for edit in self.edits]
        located = locate_tensors(self.folder, [edit.submodule for edit in edits])
        folder.mkdir()
        EditedTensors(self.folder, located, edits).write(folder, ignore)
        return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits  # type: ignore[no-any-return]


def load_plain(folder: Path, adapter: Path | None = None) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    return PeftModel.from_pretrained(model, adapter) if adapter else model


def set_scale(model: Any, scale: float) -> None:
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", scale)


def assert_plain_peft_agrees(one: EditedModel, folder: Path, *, unscaled: float = 0.0) -> None:
    """Check that an adapter in plain PEFT runs, at any scale and merged, what the edited checkpoint runs.

    ``unscaled`` is by how much the logits at scale 0 may differ from the base model's.
    """
    adapted = load_plain(one.folder, one.adapter(folder / "adapter"))
    pruned, source = load_plain(one.checkpoint(folder / "pruned")), load_plain(one.folder)
    expected, before = logits(pruned), logits(source)
    assert (expected - before).abs().max() > 1e-2
    torch.testing.assert_close(logits(adapted), expected, atol=2e-5, rtol=1e-5)
    set_scale(adapted, 0.0)
    torch.testing.assert_close(logits(adapted), before, atol=unscaled, rtol=0)
    set_scale(adapted, 0.5)
    half = logits(load_plain(one.checkpoint(folder / "half", strength=0.5)))
    torch.testing.assert_close(logits(adapted), half, atol=2e-5, rtol=1e-5)
    set_scale(adapted, 1.0)
    merged, untouched = dict(adapted.merge_and_unload().named_parameters()), dict(source.named_parameters())
    changed = {edit.submodule.parameter_name for edit in one.edits}
    for name, parameter in pruned.named_parameters():
        torch.testing.assert_close(merged[name], parameter, atol=1e-6, rtol=1e-6)
        assert name in changed or torch.equal(merged[name], untouched[name]), name
