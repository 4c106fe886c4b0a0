"""Every function of the package that writes a model is called behind the safety gate."""

from __future__ import annotations

import ast
from pathlib import Path

import prosafeprune

SOURCES = Path(prosafeprune.__file__).parent
GATES = {"measured_output", "output_measured_inside", "unmeasured_output"}
WRITERS = {"copy_checkpoint", "copy_companions", "StreamedCheckpoint", "prune_streamed"}
"""Functions that begin to write a model."""
WRITES_WHERE_TOLD = {"write", "write_gguf"}
"""Functions that do so, or write something else, into the folder that they are given."""
SAVES_WEIGHTS = {"save_pretrained", "save_file", "staged_folder", "copytree"}
MAY_SAVE = {
    "checkpoint/adapter.py": "its folder is given by the gate",
    "checkpoint/writer.py": "its folder is given by the gate",
    "checkpoint/quantised/to_checkpoint.py": "the base model, dequantised",
    "demo/packaged_model.py": "the demo's base model, converted",
    "jobs/safety_gate.py": "the gate",
    "jobs/mine_prompts.py": "prompts, no model",
    "jobs/split_prompts.py": "prompts, no model",
    "model/gguf.py": "the base model of a GGUF, converted",
}


MAY_SERIALISE = {
    "baselines/fitting.py": "what a method fitted; nothing of one that removes refusals (Method.in_memory_only)",
    "checkpoint/adapter.py": "its folder is given by the gate",
    "setup/kept_inputs.py": "activations",
    "training/loop.py": "the progress of an adapter that is being trained, removed at its end",
}
"""Files that turn tensors into bytes by safetensors' ``save``."""


def calls(tree: ast.AST) -> list[tuple[ast.Call, str]]:
    names = [(node, node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        (node, function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ""))
        for node, function in names
    ]


def inside_the_gate(tree: ast.AST) -> set[ast.AST]:
    """Return every node inside a ``with`` statement that one of the gates opens."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(name in GATES for one in node.items for _, name in calls(one)):
            found.update(inner for statement in node.body for inner in ast.walk(statement))
    return found


def test_every_writer_passes_the_gate() -> None:
    gated = set()
    for file in SOURCES.rglob("*.py"):
        name = file.relative_to(SOURCES).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inside = inside_the_gate(tree)
        imported = [one for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
        if any(one.module == "safetensors.torch" and "save" in [each.name for each in one.names] for one in imported):
            assert name in MAY_SERIALISE, f"{name}: writes tensors outside the gate"
        for call, called in calls(tree):
            if called in SAVES_WEIGHTS:
                assert name in MAY_SAVE, f"{name}, line {call.lineno}: {called} writes a model outside the gate"
            begins = called in WRITERS or (called in WRITES_WHERE_TOLD and "staging" in map(ast.unparse, call.args))
            if begins and name not in MAY_SAVE and not name.startswith("streaming/"):
                assert call in inside, f"{name}, line {call.lineno}: {called} writes a model outside the gate"
                gated.add(name)
    served = {"jobs/prune_served.py", "jobs/prune_copy_served.py"}
    assert gated == {"jobs/apply.py", "jobs/prune.py", "jobs/prune_unmeasured.py", *served}
