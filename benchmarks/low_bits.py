"""How far edits move when the activations come from a quantised copy of the model.

    python benchmarks/low_bits.py MODEL [--layers 10-13] [--prompts 64]

Makes the edits of a plan three times from the same calibration prompts: with the weights as they are, and with every
matrix of the decoder layers rounded by bitsandbytes to 8 bits (rows) and to 4 bits (NF4, blocks of 64). Each edit's
operator is then applied to the unrounded weights, and compared with the first: the cosine of the two changes of each
matrix, and the mean cosine of the principal angles between the pseudo-harmful subspaces. Activations run in the model's
own dtype; LLM.int8() would round them, too. Prints one JSON object. Needs ``pip install bitsandbytes``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from bitsandbytes import functional

from prosafeprune.editing.edits import PruningEdit
from prosafeprune.method.plan import Plan
from prosafeprune.method.subspaces import subspace_overlap
from prosafeprune.model.anatomy import Anatomy, find_anatomy
from prosafeprune.model.loading import load_model
from prosafeprune.progress import SilentReporter
from prosafeprune.prompts import PromptClass, bundled_prompts
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.calibrate import calibrate
from prosafeprune.terminal import TerminalReporter


def in_8_bits(weight: torch.Tensor) -> torch.Tensor:
    numbers, scales, _ = functional.int8_vectorwise_quant(weight.half())
    dense: torch.Tensor = functional.int8_vectorwise_dequant(numbers, scales)
    return dense


def in_4_bits(weight: torch.Tensor) -> torch.Tensor:
    packed, state = functional.quantize_4bit(weight.contiguous(), quant_type="nf4", blocksize=64)
    dense: torch.Tensor = functional.dequantize_4bit(packed, state)
    return dense


def round_weights(anatomy: Anatomy, rounded: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Round every matrix in place; return the mean relative error."""
    errors = []
    for submodule in anatomy.submodules:
        weight = submodule.weight()
        new = rounded(weight).float()
        errors.append(float((new - weight).norm() / weight.norm()))
        submodule.put(submodule.stored, new)
    return sum(errors) / len(errors)


def compare(first: PruningEdit, second: PruningEdit, weight: torch.Tensor) -> tuple[float, float]:
    """Return the cosine of two edits' changes of a matrix, and the overlap of their pseudo-harmful subspaces."""
    changes = [edit.change(weight) for edit in (first, second)]
    one, two = (change.b @ change.a for change in changes)
    cosine = float((one * two).sum() / (one.norm() * two.norm()))
    return cosine, subspace_overlap(*(torch.linalg.qr(edit.operator.right)[0] for edit in (first, second)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", default="10-13")
    parser.add_argument("--prompts", type=int, default=64)
    asked = parser.parse_args()
    recipe = make_recipe(model=asked.model, layers=asked.layers)
    assert recipe.layers is not None
    plan = Plan(layers=recipe.layers, rank=recipe.rank, pooling=recipe.pooling, projection=recipe.projection)
    prompts = {
        prompt_class: bundled_prompts(prompt_class, "calibration").sample(asked.prompts, seed=0)
        for prompt_class in PromptClass
    }
    with TerminalReporter() as reporter:
        made = {}
        errors = {}
        for name, rounded in (("16", None), ("8", in_8_bits), ("4", in_4_bits)):
            loaded = load_model(Path(asked.model), asked.model, SilentReporter(), device="cpu")
            anatomy = find_anatomy(loaded.model)
            if rounded is not None:
                errors[name] = round_weights(anatomy, rounded)
            made[name] = calibrate(loaded, anatomy, plan, prompts, 8, reporter)[1]
            if rounded is None:
                weights = [edit.submodule.weight() for edit in made[name]]
    found = {}
    for name in errors:
        compared = [compare(*pair) for pair in zip(made["16"], made[name], weights, strict=True)]
        cosines, overlaps = (sorted(values) for values in zip(*compared, strict=True))
        found[f"{name} bits"] = {
            "relative error of the weights": round(errors[name], 4),
            "cosine of the edits": {
                "lowest": round(cosines[0], 4),
                "median": round(cosines[len(cosines) // 2], 4),
            },
            "overlap of the pseudo-harmful subspaces, median": round(overlaps[len(overlaps) // 2], 4),
        }
    print(json.dumps({"matrices": len(weights), "rank": plan.rank, **found}, indent=2))


if __name__ == "__main__":
    main()
