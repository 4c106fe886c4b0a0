"""What each way of answering costs at inference, as a ratio to the model as it is, in one run.

    python benchmarks/methods.py MODEL_FOLDER --prompts or_bench_hard.jsonl [--size 40] [--tokens 64] [--batch-size 1]

All methods answer the same prompts and write exactly as many tokens: no answer is allowed to end, so that a method
which refuses less, and so says more, is not the slower one for it. What is timed is answering, as `prosafeprune
compare` times it, and not fitting: SCAN, null-space steering and the pruning are fitted on a few prompts, Surgical
ablates a direction drawn by chance, since what they cost depends on neither. Methods that are trained, and
abliteration, change nothing but weights, as the pruning does. Methods take turns over several rounds, and a ratio is
to the default in the same round, so that a machine that slows down for minutes does not favour one of them. The
paper's section 5.3 times one prompt at a time: --batch-size 1.

Prints one JSON object: of each method the seconds per answer, in its fastest round, and the ratio to the default: the
median, least and greatest of the rounds. Where two methods' ranges overlap, the run does not tell them apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from prosafeprune.baselines.method import BatchSetting, FitContext, FittedParts, Method
from prosafeprune.baselines.registry import make_method
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.generation import Decoding, Generator, LocalGenerator, answer_all
from prosafeprune.model.loading import LoadedModel, dtype_name, load_model
from prosafeprune.prompts import PromptClass, bundled_prompts, read_prompts
from prosafeprune.requests.compare import METHOD_NAMES
from prosafeprune.terminal import TerminalReporter

FITTED_ON = 16
"""Prompts of each class: enough for the rank."""


def fit(method: Method, context: FitContext) -> FittedParts:
    """Return what a method needs to run at its usual cost."""
    if isinstance(method, Surgical):
        width = context.loaded.model.config.get_text_config(decoder=True).hidden_size
        direction = torch.randn(width, generator=torch.Generator().manual_seed(0))
        return FittedParts({"direction": torch.nn.functional.normalize(direction, dim=0)})
    return method.fit(context)


def seconds(generator: Generator, prompts: Sequence[str], decoding: Decoding, device: torch.device) -> float:
    """Return how long the answers take."""
    started = time.perf_counter()
    answer_all(generator, prompts, decoding)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch-size", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", default="", help="layers to prune, such as 16,17; the middle one by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    return parser.parse_args()


def main() -> None:
    """Time all methods, in turns."""
    options = read_options()
    batch_size: BatchSetting = "auto" if options.batch_size == "auto" else int(options.batch_size)
    prompts = read_prompts(options.prompts, PromptClass.PSEUDO_HARMFUL).sample(options.size, seed=0).texts
    with TerminalReporter() as reporter:
        found = load_model(options.model, options.model.name, reporter, device=options.device, dtype=options.dtype)
        loaded: LoadedModel = replace(found, end_ids=[])
        few = {
            prompt_class: bundled_prompts(prompt_class, "calibration").sample(FITTED_ON, seed=0)
            for prompt_class in PromptClass
        }
        context = FitContext(loaded, few, few, batch_size, 0, reporter)
        middle = context.anatomy.num_layers // 2
        layers = tuple(int(layer) for layer in options.layers.split(",")) if options.layers else (middle,)
        settings: dict[str, dict[str, Any]] = {
            "scan": {"anchors": FITTED_ON},
            "prosafeprune": {"plan": {"layers": layers}},
            "prompt": {"strategy": "helpful"},
            "null-space": {"strength": 0.4},
        }
        methods = [make_method(name, settings.get(name)) for name in (*METHOD_NAMES, "null-space")]
        fitted = {method.name: fit(method, context) for method in methods}
        decoding = Decoding(max_new_tokens=options.tokens)
        answer_all(LocalGenerator(loaded, 1), prompts[:1], Decoding(max_new_tokens=2))
        spent: dict[str, list[float]] = {method.name: [] for method in methods}
        for number in range(options.rounds):
            for method in methods:
                generator = method.generator(loaded, batch_size, fitted[method.name])
                spent[method.name].append(seconds(generator, prompts, decoding, loaded.device))
                reporter.note(f"round {number + 1}, {method.name}: {spent[method.name][-1]:.1f} s")
    ratios = {
        name: sorted(seconds_taken / default for seconds_taken, default in zip(times, spent["default"], strict=True))
        for name, times in spent.items()
    }
    print(
        json.dumps(
            {
                "model": options.model.name,
                "device": loaded.device_name,
                "dtype": dtype_name(loaded.run_dtype),
                "threads": torch.get_num_threads(),
                "prompts": len(prompts),
                "tokens": options.tokens,
                "batch_size": batch_size,
                "rounds": options.rounds,
                "seconds_per_answer": {name: round(min(times) / len(prompts), 4) for name, times in spent.items()},
                "ratio_to_default": {
                    name: [round(ratio, 3) for ratio in (median(all_rounds), all_rounds[0], all_rounds[-1])]
                    for name, all_rounds in ratios.items()
                },
                "paper_ratios_to_pruned": {"self-cd": 2.69, "scan": 1.25, "surgical": 1.31},
            }
        )
    )


if __name__ == "__main__":
    main()
