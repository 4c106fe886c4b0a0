"""What other ways of making the operator do, compared with the paper's, on prompts that none of them has seen.

    python benchmarks/variants.py MODEL_FOLDER --layers 16,18 [--layers 17,21 ...] [--tokens 48]

Operators are made from 120 benign, 85 harmful and 120 pseudo-harmful bundled calibration prompts. What each does at
full strength is estimated as a search does it (``PlanScorer``), on the bundled validation prompts and the calibration
prompts that were left out: 130 pseudo-harmful and 100 harmful ones. No test prompt and no public set is looked at.

Prints one JSON object: the base model's C.R. and S.S. and, for each set of layers and each variant, the change of both
in points, how well refusals separate the two classes (AUC), and the mean per-token KL on benign answers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import AblationEdit, Edit
from prosafeprune.editing.in_memory import apply_edits
from prosafeprune.evaluation.measure import measure
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.generation import Decoding, LocalGenerator
from prosafeprune.method.fitted_projection import fitted_projection
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator
from prosafeprune.method.plan import HARMFUL_SHARE, Pooling, Projection
from prosafeprune.method.subspaces import basis
from prosafeprune.prompts import PromptClass, PromptSet, bundled_prompts
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.search.scoring import PlanScore, PlanScorer, validation_prompts
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.load import LoadedJob, load_job
from prosafeprune.setup.prepare import prepare_job
from prosafeprune.terminal import TerminalReporter

RANK = 16
MADE_FROM = {PromptClass.BENIGN: 120, PromptClass.HARMFUL: 85, PromptClass.PSEUDO_HARMFUL: 120}
ENERGY = 0.99
"""Share of a class's energy that its subspace holds where ranks go by energy."""
ATTENTION = ("q", "k", "v", "o")
Outputs = Mapping[PromptClass, torch.Tensor]
"""Pooled outputs ``(d_out, n)`` of a submodule, by class."""
BENIGN, HARMFUL, PSEUDO = PromptClass.BENIGN, PromptClass.HARMFUL, PromptClass.PSEUDO_HARMFUL


def paper(outputs: Outputs) -> OverlapOperator:
    """Return Eq. 1."""
    return overlap_operator(*(basis(outputs[one], min(RANK, len(outputs[one]))) for one in (BENIGN, HARMFUL, PSEUDO)))


def fitted(outputs: Outputs, projection: Projection) -> OverlapOperator:
    """Return Eq. 1 with a projector fitted to the prompts."""
    operator = paper(outputs)
    classes = (outputs[BENIGN], outputs[HARMFUL], outputs[PSEUDO])
    return OverlapOperator(operator.left, fitted_projection(*classes, operator.right, HARMFUL_SHARE[projection]))


def oblique(outputs: Outputs) -> OverlapOperator:
    """Return the operator that leaves harmful outputs as they are."""
    return fitted(outputs, Projection.OBLIQUE)


def contrastive(outputs: Outputs) -> OverlapOperator:
    """Return the operator that strengthens harmful outputs."""
    return fitted(outputs, Projection.CONTRASTIVE)


def centred(outputs: Outputs) -> OverlapOperator:
    """Return Eq. 1 of outputs less the benign mean."""
    mean = outputs[BENIGN].mean(dim=1, keepdim=True)
    return paper({name: one - mean for name, one in outputs.items()})


def spared(outputs: Outputs) -> OverlapOperator:
    """Return Eq. 1 less the direction from the pseudo-harmful to the harmful mean, on either side."""
    operator = paper(outputs)
    apart = outputs[HARMFUL].mean(dim=1) - outputs[PSEUDO].mean(dim=1)
    direction = (apart / apart.norm())[:, None]
    return OverlapOperator(*(part - direction @ (direction.T @ part) for part in (operator.left, operator.right)))


def by_energy(outputs: Outputs) -> OverlapOperator:
    """Return Eq. 1 with as many directions of each class as hold most of its energy."""
    bases = []
    for name in (BENIGN, HARMFUL, PSEUDO):
        energy = torch.linalg.svdvals(outputs[name]).square().cumsum(dim=0)
        bases.append(basis(outputs[name], int((energy < ENERGY * energy[-1]).sum()) + 1))
    return overlap_operator(*bases)


@dataclass(frozen=True)
class Variant:
    """A way of making edits."""

    name: str
    operator: Callable[[Outputs], OverlapOperator]
    pooling: Pooling = Pooling.SEQUENCE
    refused_alone: bool = False
    """Whether only the pseudo-harmful prompts that the source refuses are taken."""
    taken_again: bool = False
    """Whether each layer's activations are those of a model whose earlier layers are pruned."""
    kinds: tuple[str, ...] | None = None


VARIANTS = (
    Variant("orthogonal, the paper's", paper),
    Variant("oblique", oblique),
    Variant("contrastive", contrastive),
    Variant("contrastive, pooling tail", contrastive, pooling=Pooling.TAIL),
    Variant("contrastive, refused prompts alone", contrastive, refused_alone=True),
    Variant("contrastive, layer after layer", contrastive, taken_again=True),
    Variant("contrastive, attention alone", contrastive, kinds=ATTENTION),
    Variant("orthogonal, refused prompts alone", paper, refused_alone=True),
    Variant("orthogonal, layer after layer", paper, taken_again=True),
    Variant("orthogonal, without the direction of harm", spared),
    Variant("orthogonal, centred subspaces", centred),
    Variant("orthogonal, ranks by energy", by_energy),
)


class Workbench:
    """A model, the prompts operators are made from, and a scorer on those left out."""

    def __init__(self, job: LoadedJob, tokens: int, reporter: TerminalReporter) -> None:
        self.job, self.reporter, self.decoding = job, reporter, Decoding(max_new_tokens=tokens)
        whole = {one: bundled_prompts(one, "calibration") for one in PromptClass}
        self.made_from = {one: prompts.sample(MADE_FROM[one], seed=0) for one, prompts in whole.items()}
        layers = range(job.anatomy.num_layers)
        self.scorer = PlanScorer(
            job.loaded, job.anatomy, layers, job.judge, tokens, self._left_out(whole), "auto", reporter
        )
        self._inputs: dict[Pooling, tuple[PooledInputs, ClassRows]] = {}
        self._refused: list[int] | None = None

    def _left_out(self, whole: Mapping[PromptClass, PromptSet]) -> dict[PromptClass, PromptSet]:
        prompts = validation_prompts()
        for name in (HARMFUL, PSEUDO):
            used = set(self.made_from[name].prompts)
            rest = tuple(prompt for prompt in whole[name].prompts if prompt not in used)
            prompts[name] = replace(prompts[name], prompts=prompts[name].prompts + rest)
        return prompts

    def inputs(self, pooling: Pooling, layers: Sequence[int]) -> tuple[PooledInputs, ClassRows]:
        """Return what the matrices of some layers read of the calibration prompts, with the weights as they are."""
        job = self.job
        return collect_inputs(job.loaded, job.anatomy, self.made_from, pooling, layers, "auto", self.reporter)

    def refused(self) -> list[int]:
        """Return the places of the pseudo-harmful calibration prompts that the source refuses."""
        if self._refused is None:
            sets = [EvaluationSet("calibration", "calibration", self.made_from[PSEUDO])]
            generator = LocalGenerator(self.job.loaded)
            found = measure(generator, sets, self.job.judge, self.decoding, self.reporter, "Calibration prompts")
            self._refused = [i for i, one in enumerate(found.sets[0].verdicts) if one.answer_class.refuses]
        return self._refused

    def score(self, variant: Variant, layers: Sequence[int], shared: tuple[PooledInputs, ClassRows]) -> PlanScore:
        """Return the score of a variant at full strength; the model is left as it was."""
        if not variant.taken_again:
            return self.scorer.score(self._edits(variant, layers, *shared))
        edits: list[Edit] = []
        for layer in sorted(layers):
            with apply_edits(edits):
                seen = self.inputs(variant.pooling, [layer])
            edits += self._edits(variant, [layer], *seen)
        return self.scorer.score(edits)

    def _edits(self, variant: Variant, layers: Sequence[int], inputs: PooledInputs, rows: ClassRows) -> list[Any]:
        if variant.refused_alone:
            rows = {**rows, PSEUDO: [rows[PSEUDO][place] for place in self.refused()]}
        edits = []
        for submodule in (one for layer in layers for one in self.job.anatomy.of_layer(layer)):
            if variant.kinds is None or submodule.kind in variant.kinds:
                with torch.inference_mode():
                    weight = submodule.weight()
                    outputs = {name: inputs.outputs(submodule, weight, rows[name]) for name in rows}
                    edits.append(AblationEdit(submodule, variant.operator(outputs), 1.0))
        return edits


def main() -> None:
    """Score every variant at every set of layers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", action="append", required=True, help="such as 16,18; may be given more than once")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--variants", type=int, default=len(VARIANTS), help="how many, from the first")
    options = parser.parse_args()
    with TerminalReporter() as reporter:
        job = prepare_job(make_recipe(model=str(options.model)), None, False, reporter)
        workbench = Workbench(load_job(job, job.source.path), options.tokens, reporter)
        source = workbench.scorer.base_score
        sets = [tuple(int(layer) for layer in text.split(",")) for text in options.layers]
        wanted = sorted({layer for layers in sets for layer in layers})
        poolings = dict.fromkeys(variant.pooling for variant in VARIANTS[: options.variants])
        inputs = {pooling: workbench.inputs(pooling, wanted) for pooling in poolings}
        found = []
        for layers in sets:
            for variant in VARIANTS[: options.variants]:
                score = workbench.score(variant, layers, inputs[variant.pooling])
                row = {
                    "layers": layers,
                    "variant": variant.name,
                    "C.R.": round(score.compliance_rate - source.compliance_rate, 1),
                    "S.S.": round(score.safety_score - source.safety_score, 1),
                    "AUC": round(score.refusal_auc, 3),
                    "KL": round(score.divergence, 4),
                }
                reporter.note(json.dumps(row))
                found.append(row)
    print(
        json.dumps(
            {
                "model": options.model.name,
                "source": {"C.R.": source.compliance_rate, "S.S.": source.safety_score, "AUC": source.refusal_auc},
                "refused_calibration_prompts": len(workbench.refused()),
                "found": found,
            }
        )
    )


if __name__ == "__main__":
    main()
