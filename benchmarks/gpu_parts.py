"""What ``gpu.py`` measures of one model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from gpu_models import active_parameters, make_loaded

from prosafeprune.activations.pooled_inputs import PooledInputs, collect_pooled_inputs
from prosafeprune.editing.edits import apply_edits
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, LocalGenerator, answer_all
from prosafeprune.judges.verdict import AnswerClass, Verdict
from prosafeprune.method.energy import stable_rank
from prosafeprune.method.plan import Plan, Pooling
from prosafeprune.method.subspaces import independent_directions
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.chat_template import encode_prompts, render
from prosafeprune.plan_search.scoring import BaseMeasurements, PlanScorer, ValidationSettings
from prosafeprune.plan_search.search_space import searched_layers
from prosafeprune.prompts import PromptClass, bundled_prompts, validation_prompts

EDITED = 6
"""Layers of a plan."""


class ModelBenchmark:
    """One model with random weights, and what is measured of it."""

    def __init__(self, shape: str, device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> None:
        self.options, self.device = options, device
        self.loaded, self.seconds = self.timed(lambda: make_loaded(shape, device, dtype))
        self.model: Any = self.loaded.model
        self.anatomy = find_anatomy(self.model)
        self.texts: list[str] = []
        self.class_rows: dict[PromptClass, Sequence[int]] = {}
        for prompt_class in PromptClass:
            found = bundled_prompts(prompt_class, "calibration").sample(options.prompts, 0).texts
            self.class_rows[prompt_class] = range(len(self.texts), len(self.texts) + len(found))
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
        """Wait until the device has done what it was given."""
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
        handles = [submodule.module.register_forward_hook(hook(submodule.module_name)) for submodule in dense]
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
        """The pooled inputs of all layers."""
        return self.collect()

    def plan(self, first: int, strength: float = 0.8) -> Plan:
        """Return a plan for six layers in the middle, from the ``first`` one that is searched."""
        return Plan(layers=self.layers[first : first + EDITED], rank=self.options.rank, strength=strength)

    @cached_property
    def operators(self) -> OperatorCache:
        """The operators that were made so far."""
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
        submodule = max(self.anatomy.of_layer(self.layers[0]), key=lambda candidate: candidate.shape[0])
        weight = submodule.weight()
        rows = self.class_rows[PromptClass.BENIGN]
        outputs = self.inputs.outputs(submodule, weight, rows)
        on_cpu = outputs.cpu()

        parts: dict[str, Callable[[], Any]] = {
            "pooled outputs": lambda: self.inputs.outputs(submodule, weight, rows),
            "basis": lambda: independent_directions(outputs),
            "SVD without QR first": lambda: torch.linalg.svd(outputs, full_matrices=False),
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
        """Setting the scorer up, and answering with plans; a random model's answers mean nothing and are not judged."""
        prompts = {
            prompt_class: found.sample(self.options.validation, 0)
            for prompt_class, found in validation_prompts().items()
        }
        classes = (AnswerClass.FULL_REFUSAL, AnswerClass.FULL_COMPLIANCE)
        judged = []
        for prompt_class in (PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL):  # in the scorer's order
            texts = prompts[prompt_class].texts
            verdicts = [Verdict(classes[number % 3 == 0], "") for number in range(len(texts))]
            judged.append(
                JudgedSet(
                    EvaluationSet(prompt_class.value, prompt_class.value, prompts[prompt_class]),
                    [[""] * len(texts)],
                    [verdicts],
                )
            )

        def make() -> PlanScorer:
            return PlanScorer(
                self.loaded,
                self.anatomy,
                self.layers,
                None,
                ValidationSettings(48, prompts, batch_size=self.options.batch),
                base=BaseMeasurements(Measurement(judged), Measurement(judged)),
            )

        scorer, setup, setup_memory = self.measured(make)
        self.operators.of(self.plan(0))
        last = max(0, len(self.layers) - EDITED)
        trials = []
        for plan in (self.plan(0), self.plan(0, 0.4), self.plan(min(2, last))):
            edits, making = self.timed(partial(self.operators.of, plan))
            answered, scoring, memory = self.measured(partial(scorer.short_answers, edits))
            trials.append(
                {
                    "layers": len({edit.submodule.layer for edit in edits}),
                    "operators_seconds": round(making, 3),
                    "scoring_seconds": round(scoring, 3),
                    "divergence": answered.divergence,
                    "peak_gb": memory,
                }
            )
        return {
            "prompts": {prompt_class.value: len(found) for prompt_class, found in prompts.items()},
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
            ways["generate, static cache"] = partial(plain, cache_implementation="static")
        found: dict[str, Any] = {"prompts": count, "tokens_each": tokens}
        for name, work in ways.items():
            work(texts[:batch], tokens if name.endswith("cache") else 3)
            total, seconds, memory = self.measured(partial(work, texts, tokens))
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
