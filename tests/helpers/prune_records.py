"""Shared by test_prune_page and its neighbours."""

from __future__ import annotations

from typing import Any

from helpers.pages import (
    VERSIONS,
    record,
)
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.method.plan import Plan
from prosafeprune.report.evaluation_page import evaluation_page
from prosafeprune.report.evaluation_record import EvaluationRecord
from prosafeprune.report.page import Page
from prosafeprune.report.prune_page import prune_page
from prosafeprune.requests.evaluate import EvaluateRequest

PLAN = Plan(layers=(1, 2), rank=8, strength=(0.6, 0.123456789))


def pruned(before: Measurement, after: Measurement, search: Any = None, **options: Any) -> Page:
    saved = options.pop("saved", True)
    return prune_page(record(before, after, options.pop("plan", PLAN), **options), before, after, search, saved=saved)


def evaluated(now: Measurement, earlier: Measurement | None = None, **options: Any) -> Page:
    found = EvaluationRecord(
        request=EvaluateRequest(model=options.pop("model", "org/tiny")),
        made_by={"model": "5" * 64, "seed": 0},
        sessions=[{"device": "cpu", "batch_sizes": [8, 8]}],
        judge="rules-2",
        prompts={one.name: PromptsRecord(source="a file", count=3, sha256="6" * 64) for one in now.sets},
        scores=now.scores,
        ability=options.pop("ability", {}),
        divergence=options.pop("divergence", None),
        against=EarlierEvaluation(options.pop("name", "before"), earlier).compare(now) if earlier is not None else None,
        versions=VERSIONS,
    )
    return evaluation_page(found, now, earlier)
