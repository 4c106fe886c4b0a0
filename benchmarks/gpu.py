"""Speed and memory on one GPU, with random weights of published shapes made on the card: nothing is downloaded.

    python benchmarks/gpu.py [--shape qwen2-1.5b] [--minutes 8] [--peak-tflops 790]
    python benchmarks/gpu.py --tiny --device cpu --dtype float32    # checks the script itself

For each shape: activations (tokens a second and model FLOPs utilisation) against a plain padded pass with output hooks;
the edits of six layers; a search trial; answers a second against padded ``model.generate`` with the same number of
tokens; the model in 4 bits, if bitsandbytes is installed; and each one's peak memory. Prompts are the bundled ones. A
part that fails is recorded and the others run; one that would begin after its shape's share of the time is recorded as
not reached. Parts are reported on stderr as they end; stdout gets one JSON object.

FLOPs are two per weight of the decoder layers and prompt token: neither side runs the LM head for activations.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import transformers
from gpu_models import SHAPES
from gpu_parts import ModelBenchmark

from prosafeprune.model.loading import dtype_name

BATCH = 128
"""Prompts at a time in the passes for activations, ours and the plain one's."""
ANSWERED = {1: 4, 32: 64, 256: 256}
"""By batch size, how many prompts are answered."""
DEFAULT_SHAPES = ("llama-7b", "llama-8b", "qwen3-30b-a3b")
FOUR_BIT_BATCH = 32
"""Batch size of the answers of the model in 4 bits."""


def run_shape(
    shape: str, device: torch.device, dtype: torch.dtype, options: argparse.Namespace, ends: float
) -> dict[str, Any]:
    """Return all parts of one shape that begin before the time ``ends``; one that fails has its error."""
    found: dict[str, Any] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        if started >= ends:
            found[name] = {"error": "not reached"}
            return found[name]
        try:
            found[name] = work()
        except Exception as error:  # noqa: BLE001 - one part's failure must not lose the others
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}", "at": traceback.format_exc(limit=-4)}
        spent = time.perf_counter() - started
        print(f"{shape} {name} ({spent:.1f} s): {json.dumps(found[name])}", file=sys.stderr, flush=True)
        gc.collect()
        return found[name]

    made: list[ModelBenchmark] = []

    def make() -> dict[str, Any]:
        made.append(ModelBenchmark(shape, device, dtype, options))
        size = sum(parameter.numel() for parameter in made[0].model.parameters())
        return {"parameters": size, "layers": made[0].anatomy.num_layers, "seconds": round(made[0].seconds, 2)}

    part("model", make)
    if made:
        one = made[0]
        part("activations", one.activations)
        part("edits", one.edits)
        part("edit_parts", one.edit_parts)
        part("search_trial", one.search_trial)
        for batch, count in ANSWERED.items():
            part(f"answers_batch_{batch}", partial(one.answers, batch, min(count, options.most)))
        if find_spec("bitsandbytes") is not None:
            part("four_bit", partial(_four_bit, one, min(ANSWERED[FOUR_BIT_BATCH], options.most)))
    return found


def _four_bit(one: ModelBenchmark, count: int) -> dict[str, Any]:
    from gpu_four_bit import four_bit  # needs an extra

    return four_bit(one, FOUR_BIT_BATCH, count)


def main() -> None:
    """Measure each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help=f"default: {', '.join(DEFAULT_SHAPES)}")
    parser.add_argument("--minutes", type=float, default=8.0, help="in all; the shapes share it")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few prompts, to check this script")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--peak-tflops", type=float, default=790.0, help="of the card in this dtype, for the MFU")
    parser.add_argument("--batch", type=int, default=BATCH, help="prompts at a time, but for answers")
    parser.add_argument("--prompts", type=int, default=120, help="calibration prompts of each class")
    parser.add_argument("--validation", type=int, default=120, help="validation prompts of each class")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--static", action="store_true", help="also time generate with a static cache (compiles)")
    options = parser.parse_args()
    options.most = 10**6
    if options.tiny:
        options.prompts, options.validation, options.rank, options.tokens, options.most = 12, 12, 4, 6, 8
    shapes = ["tiny"] if options.tiny else options.shape or DEFAULT_SHAPES
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": dtype_name(dtype),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "batch": options.batch,
        "shapes": {},
    }
    ends = time.perf_counter() + 60 * options.minutes
    for done, shape in enumerate(shapes):
        share = (ends - time.perf_counter()) / (len(shapes) - done)
        result["shapes"][shape] = run_shape(shape, device, dtype, options, time.perf_counter() + share)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
