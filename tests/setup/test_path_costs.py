"""What each way of pruning takes, from tensor headers: by hand for a small model, and against what was measured."""

from __future__ import annotations

import pytest
from helpers.estimates import CONFIG, TENSORS

from prosafeprune.model.storage import KEPT_IN_MEMORY
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.path_costs import path_costs
from prosafeprune.setup.run_memory import LIBRARY_BYTES, StreamedMemory
from prosafeprune.setup.workload import Speed, Stage
from prosafeprune.streaming.needs import FLOAT32, edit_bytes


def test_each_way_costs_what_it_does() -> None:
    shape = ModelShape.of_tensors(TENSORS, CONFIG)
    stages = {"search": [Stage("search", 100, 10)], "layers": [Stage("activations", 10), Stage("answers", 20, 5)]}
    search, in_8, in_4, layers, adapter, low, served = path_costs(
        shape, stages, Speed(10, 1), prompts=10, layers=1, rank=2
    )
    edit = edit_bytes(128)
    assert layers.memory == LIBRARY_BYTES + 2112 + edit + shape.inputs(1, 10)
    assert search.memory - layers.memory == shape.inputs(1, 10)  # of the other layer
    linear = 64 + 64 + 128
    assert search.memory - in_8.memory == linear  # 2 bytes a weight become 1
    assert search.memory - in_4.memory == linear * (2 - 0.5625)
    assert (in_4.disk, in_4.read, in_4.seconds) == (2112, 3 * 2112, None)
    assert (layers.disk, layers.read, low.read) == (2112, 3 * 2112, 2112)
    assert adapter.disk == FLOAT32 * 2 * 40
    assert low.memory == LIBRARY_BYTES + 384 + edit + shape.inputs(1, 10)
    prompts = StreamedMemory(batch=edit + 7, states=11)
    *_, streamed, _ = path_costs(shape, stages, Speed(10, 1), prompts=10, layers=1, rank=2, streamed=prompts)
    assert streamed.memory == low.memory + 7 + 11
    scored = path_costs(shape, stages, Speed(10, 1), prompts=10, layers=1, rank=2, scoring=edit + 5)
    assert scored[3].memory == layers.memory + 5  # in place of the matrix, which is edited at another time
    on_gpu = path_costs(shape, stages, Speed(10, 1), prompts=10, layers=1, rank=2, on_gpu=True)
    assert on_gpu[3].memory == layers.memory - LIBRARY_BYTES
    assert on_gpu[-2].memory == low.memory
    assert (served.memory, served.disk, served.read) == (low.memory, 2112, 5 * 2112)
    assert search.seconds == pytest.approx(20, abs=0.01)
    assert layers.seconds == pytest.approx(1 + 2 + 5, abs=0.01)
    assert low.seconds == pytest.approx(1, abs=0.01)


MEASURED = [(32, 4096, 11008, 1.70e9, 159), (16, 2048, 8192, 1.09e9, None)]
"""Layers, widths of hidden and MLP states, and the peak memory and time of ``prune --memory low`` in
docs/large_models.md; the time of the second beside so much other work that it says nothing."""


@pytest.mark.parametrize(("layers", "hidden", "inner", "memory", "seconds"), MEASURED)
def test_low_memory_agrees_with_what_was_measured(
    layers: int, hidden: int, inner: int, memory: float, seconds: float | None
) -> None:
    layer = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    layer |= {"mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    tensors = {
        f"model.layers.{i}.{name}.weight": (shape, 2 * shape[0] * shape[1])
        for i in range(layers)
        for name, shape in layer.items()
    }
    config = {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": inner}
    shape = ModelShape.of_tensors(tensors, config)
    speed = Speed(1e9, 1e9)
    *_, low, _ = path_costs(shape, {"search": [], "layers": []}, speed, prompts=24, layers=2, rank=16)
    assert low.memory == pytest.approx(memory, rel=0.15)
    if seconds is not None:
        assert low.seconds == pytest.approx(seconds, rel=0.15)


def test_inputs_of_many_experts_are_in_a_temporary_file_not_in_memory() -> None:
    config = {"num_hidden_layers": 10, "hidden_size": 4096, "intermediate_size": 12288}
    config |= {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536}
    tensors = {f"model.layers.{i}.mlp.experts.0.up_proj.weight": ((1536, 4096), 12_582_912) for i in range(10)}
    shape = ModelShape.of_tensors(tensors, config)
    of_experts = FLOAT32 * 1500 * 128 * (4096 + 1536)  # of one layer
    assert shape.inputs(10, 1500) == FLOAT32 * 1500 * 10 * 3 * 4096 + KEPT_IN_MEMORY
    assert (shape.spilled_inputs(10, 1500), shape.spilled_inputs(1, 100)) == (10 * of_experts, 0)
    assert shape.inputs(1, 100) == FLOAT32 * 100 * (3 * 4096 + 128 * (4096 + 1536))
    costs = path_costs(shape, {"search": [], "layers": []}, Speed(1e9, 1e9), prompts=1500, layers=2, rank=16)
    output = shape.size.weight_bytes
    assert [cost.disk - output for cost in costs if "adapter" not in cost.name] == [
        *[10 * of_experts] * 3,
        2 * of_experts,
        of_experts,
        of_experts,
    ]
