"""What ways of making the edit do on styles of prompts that they were not made from.

    python benchmarks/left_out_styles.py MODEL_FOLDER --layers 12-19 [--layers 14-19 ...] [--variants NAME,NAME]

For each style of pseudo-harmful prompts, and one of harmful ones with it, edits are made from calibration prompts of
the other styles, and judged on further calibration prompts of these two; prompts in pairs are left out. No test prompt
and no public set is looked at. With ``--styles N`` edits are made from N of the other styles, with as many prompts in
all as one style has, so that runs with different N show what variety is worth.

Prints one JSON object: the base model's C.R. and S.S. and, for each window of layers and each variant, both rates and
the mean per-token KL on benign prompts.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prosafeprune.activations.pooled_inputs import PooledInputs
from prosafeprune.editing.edits import OperatorEdit, apply_edits
from prosafeprune.evaluation.measure import collect_answers, collect_verdicts
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.files.line_store import LineStore
from prosafeprune.generation import Decoding
from prosafeprune.generation.local import local_generator
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.fitted_projection import fit_projection, ridge_regression
from prosafeprune.method.overlap_operator import OverlapOperator, overlap_operator
from prosafeprune.method.plan import Pooling
from prosafeprune.method.subspaces import basis
from prosafeprune.model.batches import BatchSize
from prosafeprune.model.residual_stream import WRITING_KINDS
from prosafeprune.model.submodule import Submodule
from prosafeprune.plan_search.benign_kl import BenignKl
from prosafeprune.prompts import PromptClass, PromptSet, bundled_prompts
from prosafeprune.prompts.prompt_set import PAIRED
from prosafeprune.requests.plan_options import parse_layers
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.calibrate import ClassRows, collect_inputs
from prosafeprune.setup.load import LoadedRun, load_run
from prosafeprune.setup.prepare import prepare_run
from prosafeprune.terminal import TerminalReporter

PSEUDO, HARMFUL, BENIGN = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL, PromptClass.BENIGN
CALIBRATION = {PSEUDO: 80, HARMFUL: 60, BENIGN: 50}
"""Prompts of each style; benign ones, which have other styles, are in every fold."""
VALIDATION = {PSEUDO: 24, HARMFUL: 20}
RANK = 16
Outputs = Mapping[PromptClass, torch.Tensor]
"""Pooled outputs ``(d_out, n)`` of a submodule, by class."""


def orthogonal(outputs: Outputs) -> OverlapOperator:
    """Return Eq. 1."""
    return overlap_operator(
        *(
            basis(outputs[prompt_class], min(RANK, len(outputs[prompt_class])))
            for prompt_class in (BENIGN, HARMFUL, PSEUDO)
        )
    )


def contrastive(share: float) -> Callable[[Outputs], OverlapOperator]:
    """Return the operator of the contrastive projection with a harmful share."""

    def operator(outputs: Outputs) -> OverlapOperator:
        by_overlap = orthogonal(outputs)
        classes = (outputs[BENIGN], outputs[HARMFUL], outputs[PSEUDO])
        return OverlapOperator(by_overlap.left, fit_projection(*classes, by_overlap.right).of_share(share))

    return operator


def discriminant(share: float) -> Callable[[Outputs], OverlapOperator]:
    """Return the operator ``v w^T``: the mean difference of harmful and benign outputs, times a linear discriminant.

    The discriminant is fitted by ridge regression to 1 for pseudo-harmful, ``share`` for harmful and 0 for benign
    outputs.
    """

    def operator(outputs: Outputs) -> OverlapOperator:
        wanted = {BENIGN: 0.0, HARMFUL: share, PSEUDO: 1.0}
        classes = [outputs[prompt_class] for prompt_class in wanted]
        targets = [
            output.new_full((output.shape[1], 1), value) for output, value in zip(classes, wanted.values(), strict=True)
        ]
        refusal = outputs[HARMFUL].mean(dim=1, keepdim=True) - outputs[BENIGN].mean(dim=1, keepdim=True)
        return OverlapOperator(refusal, ridge_regression(classes, targets))

    return operator


@dataclass(frozen=True)
class Variant:
    """A way of making edits."""

    operator: Callable[[Outputs], OverlapOperator]
    poolings: tuple[Pooling, ...] = (Pooling.SEQUENCE,)
    """Each gives one sample of every prompt."""
    kinds: Collection[str] | None = None
    """Matrices that are edited; None: all."""


LAST, BOTH = (Pooling.LAST,), (Pooling.SEQUENCE, Pooling.LAST)
VARIANTS = {
    "orthogonal": Variant(orthogonal),
    "contrastive -0.5": Variant(contrastive(-0.5)),
    "contrastive -0.5 last": Variant(contrastive(-0.5), LAST),
    "contrastive -0.5 both": Variant(contrastive(-0.5), BOTH),
    "contrastive -0.2 last": Variant(contrastive(-0.2), LAST),
    "contrastive 0 last": Variant(contrastive(0.0), LAST),
    "discriminant -0.5 last": Variant(discriminant(-0.5), LAST, WRITING_KINDS),
    "discriminant -1 last": Variant(discriminant(-1.0), LAST, WRITING_KINDS),
    "discriminant -1 both": Variant(discriminant(-1.0), BOTH, WRITING_KINDS),
}


def by_style(prompt_class: PromptClass, first: int, count: int) -> PromptSet:
    """Return ``count`` bundled calibration prompts of each style, after the ``first`` ones; none that are in pairs."""
    seen: dict[str, int] = defaultdict(int)
    prompts, kept = bundled_prompts(prompt_class, "calibration"), []
    for prompt in prompts:
        seen[prompt.style] += 1
        if first < seen[prompt.style] <= first + count and prompt.kind != PAIRED:
            kept.append(prompt)
    return PromptSet(prompt_class, prompts.source, tuple(kept))


@dataclass(frozen=True, eq=False)
class Fold:
    """The validation prompts of one style of each class."""

    sets: Sequence[EvaluationSet]


class Workbench:
    """A model with calibration prompts to make edits from, and validation prompts in folds to judge them by."""

    def __init__(
        self, run: LoadedRun, windows: Sequence[tuple[int, ...]], tokens: int, other_styles: int | None
    ) -> None:
        self.loaded, self.anatomy, self.judge, self.reporter = run.loaded, run.anatomy, run.judge, run.reporter
        self.decoding, self.other_styles = Decoding(max_new_tokens=tokens), other_styles
        self.generator = local_generator(run.loaded, "auto")
        self.layers = sorted({layer for window in windows for layer in window})
        self.made_from = {
            prompt_class: by_style(prompt_class, 0, CALIBRATION[prompt_class]) for prompt_class in PromptClass
        }
        validation = {
            prompt_class: by_style(prompt_class, CALIBRATION[prompt_class], VALIDATION[prompt_class])
            for prompt_class in (PSEUDO, HARMFUL)
        }
        self.styles = {
            prompt_class: sorted({prompt.style for prompt in prompts}) for prompt_class, prompts in validation.items()
        }
        size = BatchSize("auto", run.loaded.device)
        starts = sorted({window[0] for window in windows})
        self.folds = [
            Fold([self._of_style(prompts, number) for prompts in validation.values()])
            for number in range(len(self.styles[PSEUDO]))
        ]
        benign = bundled_prompts(BENIGN, "validation").texts[:16]
        self.benign_kl = BenignKl(run.loaded, run.anatomy, starts, benign, 4, size)
        sets = [judged for fold in self.folds for judged in fold.sets]
        self.harmful = np.array([judged.prompt_class is HARMFUL for judged in sets for _ in judged.prompts])
        self.base = self.rates(lambda fold: [])

    def _of_style(self, prompts: PromptSet, number: int) -> EvaluationSet:
        style = self.styles[prompts.prompt_class][number]
        name = f"{prompts.prompt_class.value}-{style}"
        kept = tuple(prompt for prompt in prompts if prompt.style == style)
        return EvaluationSet(name, name, PromptSet(prompts.prompt_class, name, kept))

    def rates(self, edits_of: Callable[[Fold], list[OperatorEdit]]) -> dict[str, Any]:
        """Return C.R., S.S. and T.S. on the left-out styles, in percent."""
        found = []
        for fold in self.folds:
            answers = LineStore()
            with apply_edits(edits_of(fold)):
                collect_answers(answers, lambda: self.generator, fold.sets, self.decoding, 1, self.reporter, "Answers")
            measured = collect_verdicts(LineStore(), answers, self.judge, fold.sets, 1, self.reporter)
            found += [verdict.answer_class for judged in measured.sets for verdict in judged.verdicts]
        refuses, complies = (
            np.array([answer_class.refuses for answer_class in found]),
            np.array([answer_class.complies for answer_class in found]),
        )
        rates = 100 * float(complies[~self.harmful].mean()), 100 * float(refuses[self.harmful].mean())
        return {"C.R.": round(rates[0], 1), "S.S.": round(rates[1], 1), "T.S.": round(sum(rates) / 2, 1)}

    def edits(
        self, variant: Variant, window: Sequence[int], inputs: Mapping[Pooling, PooledInputs], class_rows: ClassRows
    ) -> Callable[[Fold], list[OperatorEdit]]:
        """Return a function of a fold: the edits of a window made without prompts of the fold's style."""
        made: dict[int, list[OperatorEdit]] = {}

        def of_fold(fold: Fold) -> list[OperatorEdit]:
            number = self.folds.index(fold)
            if number not in made:
                rows = {name: self._other_styles(name, number, of_class) for name, of_class in class_rows.items()}
                made[number] = [
                    self._edit(variant, submodule, inputs, rows)
                    for layer in window
                    for submodule in self.anatomy.of_layer(layer)
                    if variant.kinds is None or submodule.kind in variant.kinds
                ]
            return made[number]

        return of_fold

    def _other_styles(self, name: PromptClass, number: int, rows: Sequence[int]) -> list[int]:
        """Return a class's rows without the style of a fold; benign prompts have other styles, so all of theirs."""
        if name not in self.styles:
            return list(rows)
        of_style: dict[str, list[int]] = defaultdict(list)
        for row, prompt in zip(rows, self.made_from[name], strict=True):
            of_style[prompt.style].append(row)
        styles = self.styles[name]
        others = [*styles[number + 1 :], *styles[:number]][: self.other_styles]
        each = None if self.other_styles is None else CALIBRATION[name] // self.other_styles
        return [row for style in others for row in of_style[style][:each]]

    @torch.inference_mode()
    def _edit(
        self,
        variant: Variant,
        submodule: Submodule,
        inputs: Mapping[Pooling, PooledInputs],
        rows: Mapping[PromptClass, Sequence[int]],
    ) -> OperatorEdit:
        weight = submodule.weight()
        outputs = {
            name: torch.cat(
                [inputs[pooling].outputs(submodule, weight, of_class) for pooling in variant.poolings], dim=1
            )
            for name, of_class in rows.items()
        }
        return OperatorEdit(submodule, variant.operator(outputs), 1.0)

    def score(self, first_layer: int, edits_of: Callable[[Fold], list[OperatorEdit]]) -> dict[str, Any]:
        """Return the rates of edits from a layer on, and their KL."""
        with apply_edits(edits_of(self.folds[0])):
            divergence = self.benign_kl.mean(first_layer)
        return {**self.rates(edits_of), "KL": round(divergence, 4)}


def main() -> None:
    """Score every variant at every window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", action="append", required=True, help="such as 12-19; may be given more than once")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, separated by commas; default: all")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--styles", type=int, choices=(1, 2, 4), help="make edits from so many of the other styles")
    options = parser.parse_args()
    windows, names = [parse_layers(text) for text in options.layers], options.variants.split(",")
    with TerminalReporter() as reporter:
        prepared = prepare_run(make_recipe(model=str(options.model)), None, False, reporter)
        run = load_run(prepared, prepared.source.path, make_judge(prepared.recipe, reporter))
        bench = Workbench(run, windows, options.tokens, options.styles)
        variants = {name: VARIANTS[name] for name in names}
        poolings = list(dict.fromkeys(pooling for variant in variants.values() for pooling in variant.poolings))
        inputs, rows = collect_inputs(
            bench.loaded, bench.anatomy, bench.made_from, poolings, bench.layers, "auto", reporter
        )
        found = []
        for text, window in zip(options.layers, windows, strict=True):
            for name, variant in variants.items():
                edits_of = bench.edits(variant, window, inputs, rows)
                row = {"layers": text, "variant": name, **bench.score(window[0], edits_of)}
                reporter.note(json.dumps(row))
                found.append(row)
    print(json.dumps({"model": options.model.name, "base": bench.base, "found": found}))


if __name__ == "__main__":
    main()
