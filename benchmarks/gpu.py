"""Speed and memory on one GPU, with random weights of published shapes made on the card: nothing is downloaded.

    python benchmarks/gpu.py [--shape qwen2-1.5b --shape llama-8b] [--peak-tflops 790]
    python benchmarks/gpu.py --tiny --device cpu --dtype float32    # checks the script itself

For each shape: activations (tokens a second and model FLOPs utilisation) against a plain padded pass with output hooks;
the edits of six layers; a search trial; answers a second against padded ``model.generate`` with the same number of
tokens; and each one's peak memory. Prompts are the bundled ones. A part that fails is recorded and
the others run. Parts are reported on stderr as they end; stdout gets one JSON object.

FLOPs are two per weight of the decoder layers and prompt token: neither side runs the LM head for activations.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
import transformers
from gpu_models import SHAPES, active_parameters, make_loaded

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.editing.operator_cache import OperatorCache
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.judge.verdict import AnswerClass, Verdict
from prosafeprune.method.energy import stable_rank
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.method.subspaces import independent_directions
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat import encode_prompts, render
from prosafeprune.model.loading import dtype_name
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.search.scoring import PlanScorer, validation_prompts
from prosafeprune.search.search_space import searched_layers

EDITED = 6
BATCH = 128
"""Prompts at a time in the passes for activations, ours and the plain one's."""
ANSWERED = {1: 4, 32: 64, 256: 256}
"""By batch size, how many prompts are answered."""


class Benchmark:
    """One model, and what is measured on it."""

    def __init__(self, shape: str, device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> None:
        self.options, self.device = options, device
        self.loaded, self.seconds = self.timed(lambda: make_loaded(shape, device, dtype))
        self.model: Any = self.loaded.model
        self.anatomy = find_anatomy(self.model)
        self.texts: list[str] = []
        self.class_rows: dict[PromptClass, Sequence[int]] = {}
        for one in PromptClass:
            found = bundled_prompts(one, "calibration").sample(options.prompts, 0).texts
            self.class_rows[one] = range(len(self.texts), len(self.texts) + len(found))
            self.texts += found
        self.encoded = encode_prompts(self.loaded.tokenizer, self.texts)
        self.layers = searched_layers(self.anatomy.num_layers)

    def timed(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """Return what ``work`` returns and its seconds, the device's work included."""
        self.wait()
        started = time.perf_counter()
        result = work()
        self.wait()
        return result, time.perf_counter() - started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measured(self, work: Callable[[], Any]) -> tuple[Any, float, float | None]:
        """Return the result, the seconds and the peak memory of the device in GB, the weights included."""
        if self.device.type != "cuda":
            return *self.timed(work), None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        result, seconds = self.timed(work)
        return result, seconds, round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)

    def collect(self, count: int | None = None) -> PooledInputs:
        """Return the pooled inputs of all layers, as ``prune`` and ``search`` collect them."""
        size = BatchSize(self.options.batch, self.device)
        layers = range(self.anatomy.num_layers)
        pooling = Pooling.SEQUENCE
        found = collect_pooled_inputs(
            self.model, self.anatomy, self.encoded[:count], [pooling], layers, size, lambda done: None
        )
        return found[pooling]

    def collect_plainly(self, count: int | None = None) -> dict[str, torch.Tensor]:
        """Return pooled outputs by module, the way one would first write it: pad, hook every matrix, average."""
        pooled: dict[str, list[torch.Tensor]] = {}
        mask = torch.empty(0)

        def hook(name: str) -> Callable[..., None]:
            def catch(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
                weights = mask.unsqueeze(-1)
                pooled.setdefault(name, []).append(((output.float() * weights).sum(1) / weights.sum(1)).cpu())

            return catch

        dense = self.anatomy.without_experts().submodules
        handles = [one.module.register_forward_hook(hook(one.module_name)) for one in dense]
        try:
            with torch.inference_mode():
                for start in range(0, len(self.texts[:count]), self.options.batch):
                    batch = self.padded(self.texts[:count][start : start + self.options.batch], "right")
                    mask = batch["attention_mask"]
                    self.model.get_decoder()(**batch, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return {name: torch.cat(parts) for name, parts in pooled.items()}

    def padded(self, texts: Sequence[str], side: str) -> Any:
        """Return the rendered prompts as one padded batch on the device."""
        tokenizer = self.loaded.tokenizer
        rendered = [render(tokenizer, text) for text in texts]
        batch = tokenizer(rendered, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)
        return {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask")}

    @cached_property
    def inputs(self) -> PooledInputs:
        return self.collect()

    def plan(self, first: int, strength: float = 0.8) -> Plan:
        """Return a plan for six layers in the middle, from the ``first`` one that is searched."""
        return Plan(layers=self.layers[first : first + EDITED], rank=self.options.rank, strength=strength)

    @cached_property
    def operators(self) -> OperatorCache:
        return OperatorCache(self.anatomy, {Pooling.SEQUENCE: self.inputs}, self.class_rows)

    # Parts: each returns what goes into the JSON object.

    def activations(self) -> dict[str, Any]:
        """Our collection of activations against the plain one."""
        tokens = sum(map(len, self.encoded))
        weights = active_parameters(self.anatomy, getattr(self.model.config, "num_experts_per_tok", 0) or 0)
        found: dict[str, Any] = {
            "prompts": len(self.encoded),
            "prompt_tokens": tokens,
            "longest": max(map(len, self.encoded)),
            "layer_weights": weights,
        }
        for name, work in (("ours", self.collect), ("plain", self.collect_plainly)):
            work(self.options.batch)  # warm-up at the same shape
            result, seconds, memory = self.measured(work)
            found[name] = {
                "seconds": round(seconds, 3),
                "tokens_per_second": round(tokens / seconds),
                "mfu": round(2 * weights * tokens / seconds / (self.options.peak_tflops * 1e12), 4),
                "peak_gb": memory,
            }
            if name == "ours":
                self.__dict__["inputs"] = result
                found["shared_prefix"], found["batch_sizes"] = result.prefix_length, list(result.batch_sizes)
        found["ours_to_plain"] = round(found["plain"]["seconds"] / found["ours"]["seconds"], 2)
        return found

    def edits(self) -> dict[str, Any]:
        """The operators of six layers, and applying and undoing them."""
        plan = self.plan(0)
        edits, making, memory = self.measured(lambda: self.operators.of(plan))

        def apply() -> float:
            with apply_edits(edits):
                return self.timed(lambda: None)[1]

        applying = self.timed(apply)[1]
        return {
            "matrices": len(edits),
            "making_seconds": round(making, 3),
            "applying_and_undoing_seconds": round(applying, 3),
            "peak_gb": memory,
        }

    def edit_parts(self) -> dict[str, Any]:
        """Milliseconds of the parts of one edit, for its largest matrix, and of other ways to the same basis."""
        submodule = max(self.anatomy.of_layer(self.layers[0]), key=lambda one: one.shape[0])
        weight = submodule.weight()
        rows = self.class_rows[PromptClass.BENIGN]
        outputs = self.inputs.outputs(submodule, weight, rows)
        on_cpu = outputs.cpu()

        def by_qr() -> Any:
            q, r = torch.linalg.qr(outputs)
            return q @ torch.linalg.svd(r, full_matrices=False).U

        parts: dict[str, Callable[[], Any]] = {
            "pooled outputs": lambda: self.inputs.outputs(submodule, weight, rows),
            "basis": lambda: independent_directions(outputs),
            "basis by QR first": by_qr,
            "basis on the CPU, with the copy": lambda: independent_directions(outputs.cpu()).to(self.device),
            "basis on the CPU": lambda: independent_directions(on_cpu),
            "stable rank": lambda: stable_rank(weight),
        }
        with torch.inference_mode():
            found = {}
            for name, part in parts.items():
                part()
                found[name] = round(1000 * min(self.timed(part)[1] for _ in range(3)), 2)
        return {"matrix": list(submodule.shape), "prompts": len(rows), "milliseconds": found}

    def search_trial(self) -> dict[str, Any]:
        """Setting the scorer up, and scoring plans; verdicts are made up, since the model's answers mean nothing."""
        prompts = {one: found.sample(self.options.validation, 0) for one, found in validation_prompts().items()}
        classes = (AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
        judged = []
        for one in (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL):  # in the scorer's order
            texts = prompts[one].texts
            verdicts = [Verdict(classes[number % 3 == 0], "") for number in range(len(texts))]
            judged.append(JudgedSet(EvaluationSet(one.value, one.value, prompts[one]), [[""] * len(texts)], [verdicts]))

        def make() -> PlanScorer:
            return PlanScorer(
                self.loaded, self.anatomy, self.layers, None, 48, prompts, self.options.batch, base=Measurement(judged)
            )

        scorer, setup, setup_memory = self.measured(make)
        self.operators.of(self.plan(0))
        trials = []
        for first, strength in ((0, 0.8), (0, 0.4), (min(2, max(0, len(self.layers) - EDITED)), 0.8)):
            edits, making = self.timed(
                lambda first=first, strength=strength: self.operators.of(self.plan(first, strength))
            )
            score, scoring, memory = self.measured(lambda edits=edits: scorer.score(edits))
            trials.append(
                {
                    "layers": len({edit.submodule.layer for edit in edits}),
                    "operators_seconds": round(making, 3),
                    "scoring_seconds": round(scoring, 3),
                    "divergence": score.divergence,
                    "peak_gb": memory,
                }
            )
        return {
            "prompts": {one.value: len(found) for one, found in prompts.items()},
            "setup_seconds": round(setup, 3),
            "setup_peak_gb": setup_memory,
            "trials": trials,
        }

    def answers(self, batch: int, count: int) -> dict[str, Any]:
        """Answers a second, ours against padded ``model.generate``, both with the same number of tokens."""
        texts, tokens = (self.texts * (1 + count // len(self.texts)))[:count], self.options.tokens

        def ours(some: Sequence[str], length: int) -> int:
            answers = answer_all(LocalGenerator(self.loaded, batch), some, Decoding(max_new_tokens=length))
            return sum(answer.tokens or 0 for answer in answers)

        def plain(some: Sequence[str], length: int, **settings: Any) -> int:
            total = 0
            with torch.inference_mode():
                for start in range(0, len(some), batch):
                    inputs = self.padded(some[start : start + batch], "left")
                    out = self.model.generate(**inputs, max_new_tokens=length, do_sample=False, **settings)
                    total += (out.shape[1] - inputs["input_ids"].shape[1]) * len(out)
            return total

        ways: dict[str, Callable[..., int]] = {"ours": ours, "generate": plain}
        if self.options.static:
            ways["generate, static cache"] = lambda *asked: plain(*asked, cache_implementation="static")
        found: dict[str, Any] = {"prompts": count, "tokens_each": tokens}
        for name, work in ways.items():
            work(texts[:batch], tokens if name.endswith("cache") else 3)
            total, seconds, memory = self.measured(lambda work=work: work(texts, tokens))
            found[name] = {
                "answers_per_second": round(count / seconds, 2),
                "milliseconds_per_step": round(1000 * seconds / (tokens * -(-count // batch)), 2),
                "all_tokens": total == count * tokens,
                "peak_gb": memory,
            }
        found["ours_to_generate"] = round(
            found["ours"]["answers_per_second"] / found["generate"]["answers_per_second"], 2
        )
        return found


def run_shape(shape: str, device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> dict[str, Any]:
    """Return all parts of one shape; a part that fails has its error in place of figures."""
    found: dict[str, Any] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        try:
            found[name] = work()
        except Exception as error:  # noqa: BLE001 - one part's failure must not lose the others
            traceback.print_exc()
            found[name] = {"error": f"{type(error).__name__}: {error}", "at": traceback.format_exc(limit=-4)}
        spent = time.perf_counter() - started
        print(f"{shape} {name} ({spent:.1f} s): {json.dumps(found[name])}", file=sys.stderr, flush=True)
        gc.collect()
        return found[name]

    made: list[Benchmark] = []

    def make() -> dict[str, Any]:
        made.append(Benchmark(shape, device, dtype, options))
        size = sum(one.numel() for one in made[0].model.parameters())
        return {"parameters": size, "layers": made[0].anatomy.num_layers, "seconds": round(made[0].seconds, 2)}

    part("model", make)
    if made:
        one = made[0]
        part("activations", one.activations)
        part("edits", one.edits)
        part("edit_parts", one.edit_parts)
        part("search_trial", one.search_trial)
        for batch, count in ANSWERED.items():
            part(
                f"answers_batch_{batch}", lambda batch=batch, count=count: one.answers(batch, min(count, options.most))
            )
    return found


def main() -> None:
    """Measure each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="default: qwen2-1.5b and llama-8b")
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
    shapes = ["tiny"] if options.tiny else options.shape or ["qwen2-1.5b", "llama-8b"]
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": dtype_name(dtype),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "batch": options.batch,
        "shapes": {},
    }
    for shape in shapes:
        result["shapes"][shape] = run_shape(shape, device, dtype, options)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
