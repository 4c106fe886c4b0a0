"""What ``--load 8bit`` and ``--load 4bit`` change: the edits, the scores of plans, memory and time.

    python benchmarks/quantised_search.py MODEL [--layers 8-15] [--prompts 48] [--plans 0] [--device cpu]

Runs the model as stored and as both copies, each in a process of its own, on the same prompts:

- the edits of ``--layers``, made of the stored weights and the activations of that run. By layer, they are compared
  with those of the model as stored: the cosine of the changes that they make to the stored weights (median of the
  matrices), and the mean cosine of the principal angles between their pseudo-harmful subspaces;
- greedy answers of 16 tokens to 16 test prompts, for their time;
- with ``--plans N``, the N plans of ``search.py`` are scored as a search scores them, on ``--validated`` validation
  prompts of each class; Spearman's rank correlations with the scores by the model as stored.

Memory is ``VmHWM``, which also counts the pages of the checkpoint's files that were in memory while they were read, or
torch's peak on a GPU; and the size of the model's tensors. Prints one JSON object. Needs ``pip install bitsandbytes``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from search import POOLINGS, spread_plans

from prosafeprune.checkpoint.names import with_originals
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan
from prosafeprune.method.subspaces import subspace_overlap
from prosafeprune.model.anatomy import find_anatomy
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.quantised_copy import BITS_IN_WORDS, Load
from prosafeprune.plan_search.scoring import PlanScorer, ValidationSettings
from prosafeprune.plan_search.search_space import searched_layers
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.recipe import Recipe, make_recipe
from prosafeprune.setup.calibrate import collect_inputs

LOADS = ("stored", "8bit", "4bit")
ANSWERED, TOKENS = 16, 16


def run_one(name: str, folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one of ``LOADS``, save its edits in ``folder``, and return what it took."""
    load: Load | None = next((bits for bits in BITS_IN_WORDS if bits == name), None)
    recipe = make_recipe(model=asked.model, layers=asked.layers, device=asked.device)
    plan = plan_of(recipe)
    timed: dict[str, float] = {}
    started = time.perf_counter()
    loaded = load_model(Path(asked.model), asked.model, SilentReporter(), device=asked.device, load=load)
    timed["load"] = time.perf_counter() - started
    anatomy = find_anatomy(loaded.model)
    if loaded.load is not None:
        anatomy = with_originals(anatomy, loaded.folder, loaded.run_dtype)
    prompts = {
        prompt_class: bundled_prompts(prompt_class, "calibration").sample(asked.prompts, seed=0)
        for prompt_class in PromptClass
    }
    started = time.perf_counter()
    inputs, rows = collect_inputs(loaded, anatomy, prompts, [plan.pooling], plan.layers, 8, SilentReporter())
    timed["activations"] = time.perf_counter() - started
    edits = OperatorCache(anatomy, inputs, rows)
    saved = [
        {"name": edit.submodule.name, "layer": edit.submodule.layer, "right": edit.operator.right, **change_of(edit)}
        for edit in edits.of(plan)
    ]
    torch.save(saved, folder / f"{name}.pt")
    timed["answers"] = answer_seconds(loaded)
    scores = plan_scores(loaded, anatomy, recipe, asked) if asked.plans else []
    sizes = {"peak_gb": round(peak_bytes(loaded) / 1e9, 2), "tensors_gb": round(tensor_bytes(loaded) / 1e9, 2)}
    return {**sizes, "seconds": {name: round(value, 1) for name, value in timed.items()}, "scores": scores}


def plan_of(recipe: Recipe) -> Plan:
    """Return the plan of the recipe's layers."""
    assert recipe.layers is not None
    return Plan(layers=recipe.layers, rank=recipe.rank, pooling=recipe.pooling, projection=recipe.projection)


def change_of(edit: Any) -> dict[str, torch.Tensor]:
    """Return the factors of what an edit adds to the stored weight."""
    change = edit.change(edit.submodule.weight())
    return {"b": change.b, "a": change.a}


def answer_seconds(loaded: LoadedModel) -> float:
    """Return how long answers take, after one that is not counted: some CPUs repack matrices at their first run."""
    texts = bundled_prompts(PromptClass.PSEUDO_HARMFUL, "test").sample(ANSWERED, seed=0).texts
    generator = LocalGenerator(loaded, 8)
    list(generator.answer(texts[:1], Decoding(max_new_tokens=1)))
    started = time.perf_counter()
    list(generator.answer(texts, Decoding(max_new_tokens=TOKENS)))
    return time.perf_counter() - started


def plan_scores(loaded: LoadedModel, anatomy: Any, recipe: Recipe, asked: argparse.Namespace) -> list[list[float]]:
    """Return C.R. and S.S. of each plan, as a search estimates them."""
    layers = searched_layers(anatomy.num_layers)
    calibration = {
        prompt_class: bundled_prompts(prompt_class, "calibration").sample(asked.prompts, seed=0)
        for prompt_class in PromptClass
    }
    inputs, rows = collect_inputs(loaded, anatomy, calibration, POOLINGS, layers, 8, SilentReporter())
    edits = OperatorCache(anatomy, inputs, rows)
    prompts = {
        prompt_class: bundled_prompts(prompt_class, "validation").sample(asked.validated, seed=0)
        for prompt_class in PromptClass
    }
    validation = ValidationSettings(20, prompts, batch_size=asked.batch)
    scorer = PlanScorer(loaded, anatomy, layers, make_judge(recipe, SilentReporter()), validation)
    scores = []
    for number, plan in enumerate(spread_plans(layers, asked.plans), 1):
        scores.append(scorer.scored(plan, scorer.short_answers(edits.of(plan))))
        print(f"{loaded.load or 'stored'}: plan {number} of {asked.plans}", file=sys.stderr)
    return [[round(score.compliance_rate, 2), round(score.safety_score, 2)] for score in scores]


def rank_correlations(stored: list[list[float]], other: list[list[float]]) -> dict[str, float]:
    """Return Spearman's rank correlations of C.R., S.S. and T.S."""
    pairs = {"C.R.": lambda rates: rates[0], "S.S.": lambda rates: rates[1], "T.S.": sum}
    return {
        name: round(float(spearmanr([of(rates) for rates in stored], [of(rates) for rates in other])[0]), 2)
        for name, of in pairs.items()
    }


def tensor_bytes(loaded: LoadedModel) -> int:
    """Return the bytes of a model's weights and buffers, the scales of quantised ones included."""
    total = sum(tensor.nbytes for tensor in (*loaded.model.parameters(), *loaded.model.buffers()))
    for module in loaded.model.modules():
        scales = (getattr(getattr(module, "state", None), "SCB", None), getattr(module, "weight", None))
        total += scales[0].nbytes if scales[0] is not None else 0
        state = getattr(scales[1], "quant_state", None)
        total += state.absmax.nbytes if state is not None else 0
    return total


def peak_bytes(loaded: LoadedModel) -> int:
    """Return the most memory that this process has had: of the GPU where it runs on one."""
    if loaded.device.type == "cuda":
        return torch.cuda.max_memory_allocated(loaded.device)
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def compare(folder: Path, load: str) -> dict[str, Any]:
    """Return, by layer, how far the edits of a copy are from those of the model as stored."""
    first, second = (torch.load(folder / f"{kind}.pt", map_location="cpu") for kind in ("stored", load))
    layers: dict[int, list[tuple[float, float]]] = {}
    for one, two in zip(first, second, strict=True):
        changes = [item["b"] @ item["a"] for item in (one, two)]
        cosine = float((changes[0] * changes[1]).sum() / (changes[0].norm() * changes[1].norm()))
        overlap = subspace_overlap(*(torch.linalg.qr(item["right"])[0] for item in (one, two)))
        layers.setdefault(one["layer"], []).append((cosine, overlap))
    cosines = sorted(cosine for pairs in layers.values() for cosine, _ in pairs)
    return {
        "cosine_of_edits": {
            "median": round(cosines[len(cosines) // 2], 3),
            "lowest": round(cosines[0], 3),
            "by_layer": {layer: round(median([one for one, _ in pairs]), 3) for layer, pairs in layers.items()},
        },
        "overlap_of_subspaces_by_layer": {
            layer: round(median([one for _, one in pairs]), 3) for layer, pairs in layers.items()
        },
    }


def median(values: list[float]) -> float:
    """Return the median."""
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Run one of the three, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", default="8-15")
    parser.add_argument("--prompts", type=int, default=48, help="calibration prompts of each class")
    parser.add_argument("--plans", type=int, default=0)
    parser.add_argument("--validated", type=int, default=24, help="validation prompts of each class, for --plans")
    parser.add_argument("--batch", type=int, default=8, help="prompts at a time, for --plans")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(run_one(asked.one[0], Path(asked.one[1]), asked)))
        return
    found: dict[str, Any] = {"layers": asked.layers, "prompts": asked.prompts, "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        for load in LOADS:
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", load, folder], stdout=subprocess.PIPE, check=True
            )
            found[load] = json.loads(done.stdout)
            print(load, done.stdout.decode().strip(), file=sys.stderr)
            if load != "stored":
                found[load] |= compare(Path(folder), load)
                if asked.plans:
                    found[load]["rank_correlation"] = rank_correlations(
                        found["stored"]["scores"], found[load]["scores"]
                    )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
