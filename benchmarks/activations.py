"""Time and memory of collecting pooled activations: a plain batched pass with output hooks, against ours.

    python benchmarks/activations.py MODEL_FOLDER [--prompts 64] [--dtype bfloat16]

Both run in this process on the same prompts in the same dtype and with the same batch size. The plain way is what one
would write first: pad, hook the output of every matrix of every layer, mean over the prompt's tokens. Ours is the
package's own. The order is plain, ours, ours, plain; the figures are the means. Peak memory is what the process gained
over its resident size before the pass, sampled every 5 ms.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.method.plan import Pooling
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts, render
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.terminal import TerminalReporter

BATCH = 32


def plain(loaded: LoadedModel, anatomy: Anatomy, prompts: list[str]) -> dict[str, torch.Tensor]:
    """Return pooled outputs by module name, the way one would first write it."""
    pooled: dict[str, list[torch.Tensor]] = {}
    state: dict[str, Any] = {}

    def hook(name: str) -> Callable[..., None]:
        def catch(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
            mask = state["mask"].unsqueeze(-1)
            pooled.setdefault(name, []).append(((output.float() * mask).sum(1) / mask.sum(1)).cpu())

        return catch

    modules = {submodule.module_name: submodule.module for submodule in anatomy.submodules}
    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    loaded.tokenizer.padding_side = "right"
    loaded.tokenizer.pad_token = loaded.tokenizer.pad_token or loaded.tokenizer.eos_token
    with torch.inference_mode():
        for start in range(0, len(prompts), BATCH):
            texts = [render(loaded.tokenizer, prompt) for prompt in prompts[start : start + BATCH]]
            batch = loaded.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
            state["mask"] = batch["attention_mask"]
            loaded.model.get_decoder()(**batch, use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in pooled.items()}


def ours(loaded: LoadedModel, anatomy: Anatomy, prompts: list[str], layers: range) -> PooledInputs:
    """Return pooled inputs, from which outputs follow by one product each."""
    encoded = encode_prompts(loaded.tokenizer, prompts)
    size = BatchSize(BATCH, loaded.device)
    pooling = Pooling.SEQUENCE
    return collect_pooled_inputs(loaded.model, anatomy, encoded, [pooling], layers, size, lambda done: None)[pooling]


def measured(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return seconds, peak growth of resident memory in MB, and what ``work`` returned."""
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return seconds, peak[0] / 1e6, result


def worst_difference(anatomy: Anatomy, outputs: dict[str, torch.Tensor], inputs: PooledInputs) -> float:
    """Return the largest relative distance between the two ways' pooled outputs of a submodule."""
    worst = 0.0
    for submodule in anatomy.submodules:
        expected = outputs[submodule.module_name].T
        expected = expected if submodule.rows is None else expected[submodule.rows]
        found = inputs.outputs(submodule, submodule.weight())
        worst = max(worst, float((found - expected).norm() / expected.norm()))
    return worst


def main() -> None:
    """Run both ways and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=64, help="from each class")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    with TerminalReporter() as reporter:
        loaded = load_model(options.model, options.model.name, reporter, device="cpu", dtype=options.dtype)
    anatomy = find_anatomy(loaded.model)
    prompts = [
        text for name in PromptClass for text in bundled_prompts(name, "calibration").sample(options.prompts, 0).texts
    ]
    every, middle = range(anatomy.num_layers), range(anatomy.num_layers // 2 + 1)
    plain(loaded, anatomy, prompts[:BATCH])
    ours(loaded, anatomy, prompts[:BATCH], every)
    runs: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": [], "ours, one middle layer": []}
    for name in ("plain", "ours", "ours, one middle layer", "ours, one middle layer", "ours", "plain"):
        work = {
            "plain": lambda: plain(loaded, anatomy, prompts),
            "ours": lambda: ours(loaded, anatomy, prompts, every),
            "ours, one middle layer": lambda: ours(loaded, anatomy, prompts, middle[-1:]),
        }[name]
        seconds, peak, result = measured(work)
        runs[name].append((seconds, peak))
        if name == "plain":
            outputs = result
        elif name == "ours":
            inputs = result
    means = {name: [statistics.mean(column) for column in zip(*rows, strict=True)] for name, rows in runs.items()}
    print(
        f"{options.model.name}, {len(prompts)} prompts, batch {BATCH}, prefix of {inputs.prefix_length} tokens run once"
    )
    for name, (seconds, peak) in means.items():
        ratio, memory = seconds / means["plain"][0], peak / means["plain"][1]
        print(f"{name:24} {seconds:7.1f} s  ratio {ratio:.2f}   peak memory +{peak:.0f} MB, ratio {memory:.2f}")
    print(
        f"largest relative difference of a submodule's pooled outputs: {worst_difference(anatomy, outputs, inputs):.1e}"
    )


if __name__ == "__main__":
    main()
