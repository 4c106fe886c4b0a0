"""What scoring a plan costs and how well it predicts generation, in one run.

    python benchmarks/search.py MODEL_FOLDER [--plans 24] [--timed 2]

For plans all over the middle of the model, at several strengths: (a) the search's score, by answers of 20 tokens to the
scoring prompts, and (b) C.R. and S.S. by answers of 48 tokens to all other validation prompts. The first ``--timed``
plans also answer the scoring prompts as a plain script would, 32 tokens by ``model.generate`` on padded batches of
40, for the time that takes (and 14 GB of memory with a model of 0.5 B). Prints one JSON object: seconds per plan of
each, their ratio, Spearman's rank correlation of C.R., S.S. and T.S., and each plan's figures, which are shown as they
come: C.R. scored and measured, S.S. scored and measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from generation import BATCH, plain_generate
from scipy.stats import spearmanr

from prosafeprune.editing.edits import apply_edits
from prosafeprune.editing.make_edits import OperatorCache
from prosafeprune.judges.registry import make_judge
from prosafeprune.method.plan import Plan, Pooling, Projection, describe_plan
from prosafeprune.plan_search.scoring import PlanScorer, ValidationSettings
from prosafeprune.plan_search.search_space import searched_layers
from prosafeprune.requests.recipe import make_recipe
from prosafeprune.setup.calibrate import collect_inputs
from prosafeprune.setup.load import load_run
from prosafeprune.setup.prepare import prepare_run
from prosafeprune.terminal import TerminalReporter

TOKENS, PLAIN_TOKENS = 48, 32
SHAPES = ((8, 1.0), (5, 1.0), (8, 0.6), (5, 0.6), (3, 1.0), (8, 0.8))
"""How many layers side by side, and how strongly."""
POOLINGS = (Pooling.LAST,)
SHARES = (-0.25, 0.0, -0.35)


def spread_plans(layers: tuple[int, ...], count: int) -> list[Plan]:
    """Return plans of all shapes and harmful shares, spread evenly over the layers, as a search draws them."""
    plans = []
    for number in range(count):
        length, strength = SHAPES[number % len(SHAPES)]
        start = round(number * (len(layers) - length) / max(1, count - 1))
        plans.append(
            Plan(
                layers=layers[start : start + length],
                strength=strength,
                pooling=POOLINGS[0],
                projection=Projection.CONTRASTIVE,
                harmful_share=SHARES[number // len(SHAPES) % len(SHARES)],
            )
        )
    return plans


def main() -> None:
    """Score every plan both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--plans", type=int, default=24)
    parser.add_argument("--timed", type=int, default=2)
    options = parser.parse_args()
    with TerminalReporter() as reporter:
        recipe = make_recipe(model=str(options.model), max_new_tokens=TOKENS)
        prepared = prepare_run(recipe, None, False, reporter)
        bench = load_run(prepared, prepared.source.path, make_judge(prepared.recipe, reporter))
        layers = searched_layers(bench.anatomy.num_layers)
        inputs, rows = collect_inputs(
            bench.loaded, bench.anatomy, prepared.calibration, POOLINGS, layers, "auto", reporter
        )
        edits = OperatorCache(bench.anatomy, inputs, rows)
        scorer = PlanScorer(
            bench.loaded,
            bench.anatomy,
            layers,
            bench.judge,
            ValidationSettings(TOKENS, prepared.validation, prepared.confirmation),
            reporter,
        )
        prompts = [text for prompt_set in scorer.sets for text in prompt_set.prompts.texts]
        found, scoring, plain = [], [], []
        for number, plan in enumerate(spread_plans(layers, options.plans)):
            made = edits.of(plan)  # made once for each layer of a search, so in neither time
            started = time.perf_counter()
            score = scorer.scored(plan, scorer.short_answers(made))
            scoring.append(time.perf_counter() - started)
            measured = scorer.measure(made).scores
            if number < options.timed:
                with apply_edits(made):
                    started = time.perf_counter()
                    plain_generate(bench.loaded, prompts, PLAIN_TOKENS, BATCH)
                    plain.append(time.perf_counter() - started)
            assert measured.compliance_rate is not None and measured.safety_score is not None
            found.append((score.compliance_rate, measured.compliance_rate, score.safety_score, measured.safety_score))
            reporter.note(f"{describe_plan(plan)}: {[round(value, 1) for value in found[-1]]}")
    compliance, compliance_measured, safety, safety_measured = zip(*found, strict=True)
    tradeoff = [(a + b) / 2 for a, b in zip(compliance, safety, strict=True)]
    tradeoff_measured = [(a + b) / 2 for a, b in zip(compliance_measured, safety_measured, strict=True)]
    print(
        json.dumps(
            {
                "model": options.model.name,
                "plans": len(found),
                "prompts": len(prompts),
                "seconds_a_plan": {"scored": statistics.median(scoring), "plain generate": statistics.median(plain)},
                "scored_to_plain": statistics.median(scoring) / statistics.median(plain),
                "rank_correlation": {
                    "C.R.": float(spearmanr(compliance, compliance_measured)[0]),
                    "S.S.": float(spearmanr(safety, safety_measured)[0]),
                    "T.S.": float(spearmanr(tradeoff, tradeoff_measured)[0]),
                },
                "mean_error_points": {
                    "C.R.": statistics.fmean(abs(a - b) for a, b in zip(compliance, compliance_measured, strict=True)),
                    "S.S.": statistics.fmean(abs(a - b) for a, b in zip(safety, safety_measured, strict=True)),
                },
                "found": [[round(value, 1) for value in row] for row in found],
            }
        )
    )


if __name__ == "__main__":
    main()
