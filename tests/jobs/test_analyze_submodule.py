"""`prosafeprune analyze layers --submodule`: which layer is shown, and what is refused before the wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.evaluation_runs import prompt_options
from helpers.fixture_types import Make, Run

from prosafeprune.model.anatomy import Anatomy
from prosafeprune.model.submodule import Submodule


@pytest.fixture
def of_layers(checkpoint: Make, prompt_files: dict[str, str], tmp_path: Path) -> list[object]:
    """Options of the command, but for the submodule."""
    return ["layers", checkpoint("qwen2"), "-o", tmp_path / "out", *prompt_options(prompt_files), "--rank", 4]


@pytest.mark.parametrize(
    ("layer", "message"), [([], "gates: the model has q, k, v, o, gate"), (["--layer", 1], "gates: layer 1 has q, k")]
)
def test_an_unknown_submodule_is_refused_before_activations_are_computed(
    layer: list[object], message: str, of_layers: list[object], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("activations were computed")

    monkeypatch.setattr("prosafeprune.analysis.context.collect_inputs", never)
    run.refused(message, "analyze", *of_layers, "--submodule", "gates", *layer)


@pytest.mark.parametrize("having", [0, 2])  # one of them does not separate the classes best
@pytest.mark.usefixtures("no_figures")
def test_a_submodule_is_shown_of_a_layer_that_has_it(
    having: int, of_layers: list[object], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_layer = Anatomy.of_layer

    def without_gate(self: Anatomy, layer: int) -> tuple[Submodule, ...]:
        return tuple(one for one in of_layer(self, layer) if one.kind != "gate" or layer == having)

    monkeypatch.setattr(Anatomy, "of_layer", without_gate)
    out, _ = run.ok("analyze", *of_layers, "--submodule", "gate", "--json")
    assert json.loads(out)["layers"]["tables"][3]["title"] == f"t-SNE of layer {having}, gate"
