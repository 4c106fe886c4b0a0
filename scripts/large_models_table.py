"""Print the tables of docs/large_models.md: what each way of pruning takes for models of known shape, computed.

    PYTHONPATH=src python scripts/large_models_table.py

Models are made on the meta device from their published shapes; nothing is downloaded. Times are for GPUs that together
hold the model, one working at a time, with the speeds below, which were measured on one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from prosafeprune.evaluation.spot_check import spot_check_sets
from prosafeprune.method.plan import Plan
from prosafeprune.model.source import ModelSource
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.adapter_support import refusal_of
from prosafeprune.setup.model_size import ModelShape
from prosafeprune.setup.path_costs import Conversion, PathCost, path_costs
from prosafeprune.setup.prepare import PreparedRun
from prosafeprune.setup.prompt_sets import read_calibration, test_prompts
from prosafeprune.setup.run_memory import HALF_BYTES, scoring_memory, streamed_memory
from prosafeprune.setup.run_prompts import SCORING_SHARE
from prosafeprune.setup.source_shape import dequantising_memory, gguf_memory
from prosafeprune.setup.workload import Speed, stages_of
from prosafeprune.text import data_size, duration

FLOPS = 147e12
"""Floating-point operations per second of a pass over prompts: measured on an H200 with 8 B (docs/results.md)."""
LAYER_SECONDS = 0.0024
"""Seconds per layer and token of a batch of answers: 79 answers of 48 tokens a second at batch 256 with 28 layers."""
BANDWIDTH = 4.8e12
"""Bytes per second of the memory of that card, by its data sheet."""
HEADINGS = "| model | way | memory | disk | read | time |\n|---|---|---|---|---|---|"
ROWS = 256
"""Answers that are written together."""
LAYERS = 6
"""Layers of a given plan."""
MODELS = {
    "8 B (Llama-3.1-8B)": transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    ),
    "32 B (Qwen3-32B)": transformers.Qwen3Config(
        vocab_size=151936,
        hidden_size=5120,
        intermediate_size=25600,
        num_hidden_layers=64,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=128,
    ),
    "70 B (Llama-3.1-70B)": transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    ),
    "235 B (Qwen3-235B-A22B)": transformers.Qwen3MoeConfig(
        vocab_size=151936,
        hidden_size=4096,
        intermediate_size=12288,
        moe_intermediate_size=1536,
        num_hidden_layers=94,
        num_attention_heads=64,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
    ),
    "671 B (DeepSeek-V3, in bfloat16)": transformers.DeepseekV3Config(),
}


def prepared_prune() -> PreparedRun:
    """Return what ``prune MODEL`` prepares, as far as its prompts go."""
    recipe = make_recipe(model="org/name")
    sets, benign = test_prompts(recipe)
    halves = {
        prompt_class: bundled_prompts(prompt_class, "validation").split(SCORING_SHARE, recipe.seed)
        for prompt_class in PromptClass
    }
    return PreparedRun(
        recipe=recipe,
        source=ModelSource("org/name", Path()),
        output=None,
        calibration=read_calibration(recipe, recipe.rank, recipe.seed).sets,
        validation={name: half[0] for name, half in halves.items()},
        confirmation={name: half[1] for name, half in halves.items()},
        evaluation=sets,
        spot_check=spot_check_sets(),
        benign=benign,
        reporter=SilentReporter(),
    )


@dataclass(frozen=True)
class Stored:
    """How a model is stored that is converted before it runs."""

    model: str
    """Its name in ``MODELS``."""
    matrix_bytes: float
    """Bytes for each number of the decoder layers' matrices, scales included."""
    table_bytes: float = 2.0
    """The same of all other tensors."""
    is_gguf: bool = False

    def conversion(self, shape: ModelShape, in_layers: int) -> Conversion:
        """Return what the conversion takes, given the number of weights in the decoder layers' matrices."""
        files = self.matrix_bytes * in_layers + self.table_bytes * (shape.parameters - in_layers)
        if self.is_gguf:
            return Conversion(files, gguf_memory(shape, files), is_gguf=True)
        return Conversion(files, dequantising_memory(shape.largest_matrix))


STORED = {
    "8 B, FP8 in blocks of 128": Stored("8 B (Llama-3.1-8B)", 1 + 4 / 128**2),
    "8 B, GPTQ or AWQ in 4 bits, groups of 128": Stored("8 B (Llama-3.1-8B)", (4 + (16 + 4) / 128) / 8),
    "8 B, GGUF of 4.9 bits a weight (Q4_K_M)": Stored("8 B (Llama-3.1-8B)", 4.9 / 8, 4.9 / 8, is_gguf=True),
    "70 B, GPTQ or AWQ in 4 bits, groups of 128": Stored("70 B (Llama-3.1-70B)", (4 + (16 + 4) / 128) / 8),
    "671 B, FP8 in blocks of 128": Stored("671 B (DeepSeek-V3, in bfloat16)", 1 + 4 / 128**2),
}
"""The published forms. A GGUF's bits are llama.cpp's average of that type."""


def meta_model(config: transformers.PreTrainedConfig) -> transformers.PreTrainedModel:
    """Return the model of a config, with shapes and no values."""
    with torch.device("meta"):
        model: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16
        )
    return model


def costs_of(prepared: PreparedRun, model: transformers.PreTrainedModel, stored: Stored | None) -> list[PathCost]:
    """Return what each way takes for a model on the meta device, as it is stored."""
    named = dict(model.named_parameters())
    tensors = {name: (tuple(one.shape), one.numel() * one.itemsize) for name, one in named.items()}
    in_layers = sum(one.numel() for name, one in named.items() if ".layers." in name and one.ndim > 1)
    shape = ModelShape.of_tensors(tensors, model.config.to_dict())
    count = model.config.num_hidden_layers
    plan = Plan(layers=tuple(range(count // 2, count // 2 + LAYERS)))
    # A batch of answers passes nearly all experts, so all weights are read for each token of its rows.
    step = count * LAYER_SECONDS + shape.size.weight_bytes / BANDWIDTH
    return path_costs(
        shape,
        {"search": stages_of(prepared, None, count), "layers": stages_of(prepared, plan, count)},
        Speed(FLOPS / (2 * shape.active), ROWS / step),
        prompts=sum(map(len, prepared.calibration.values())),
        layers=LAYERS,
        rank=plan.rank,
        scoring=scoring_memory(prepared.recipe, shape.size, on_gpu=True),
        streamed=streamed_memory(prepared, shape, on_gpu=True, number_bytes=HALF_BYTES),
        on_gpu=True,
        conversion=stored.conversion(shape, in_layers) if stored is not None else None,
        takes_adapter=stored is None or refusal_of(model) is None,
    )


def print_rows(name: str, costs: list[PathCost]) -> None:
    """Print the rows of a model in Markdown."""
    for number, cost in enumerate(costs):
        sizes = [data_size(size) for size in (cost.memory, cost.disk, cost.read)]
        time = duration(cost.seconds) if cost.seconds is not None else "not measured"
        print(f"| {'' if number else name} | {cost.name} | {' | '.join(sizes)} | {time} |", flush=True)


def main() -> None:
    """Print both tables in Markdown."""
    prepared = prepared_prune()
    models = {name: meta_model(config) for name, config in MODELS.items()}
    print(HEADINGS)
    for name, model in models.items():
        print_rows(name, costs_of(prepared, model, None))
    print(f"\n{HEADINGS}")
    for name, stored in STORED.items():
        print_rows(name, costs_of(prepared, models[stored.model], stored))


if __name__ == "__main__":
    main()
