"""Reading pages, and the things that pages are made of."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from prosafeprune.analysis.analysis_page import analysis_page
from prosafeprune.analysis.catalogue import BY_NAME
from prosafeprune.analysis.result import AnalysisResult, BarFigure, LineFigure, make_table
from prosafeprune.editing.edits import EditMeasures
from prosafeprune.evaluation.divergence import Divergence
from prosafeprune.evaluation.earlier_evaluation import EarlierEvaluation
from prosafeprune.evaluation.judged_set import JudgedSet
from prosafeprune.evaluation.measure import Measurement
from prosafeprune.evaluation.prompts_record import PromptsRecord
from prosafeprune.evaluation.scores import change, pooled_change
from prosafeprune.evaluation.sets import EvaluationSet
from prosafeprune.judges import AnswerClass, Verdict
from prosafeprune.method.plan import Plan
from prosafeprune.plan_search.scored_plan import ScoredPlan
from prosafeprune.plan_search.search_record import SearchPoint, SearchRecord, ValidationRates
from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.report.comparison_page import comparison_page
from prosafeprune.report.comparison_record import ComparisonRecord, MethodCost, MethodResult
from prosafeprune.report.edit_record import ModelRecord
from prosafeprune.report.page import Page
from prosafeprune.report.record import Record
from prosafeprune.report.run_record import RunRecord
from prosafeprune.requests.analyze import AnalyzeRequest
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.parsing import validate_settings
from prosafeprune.requests.recipe import Recipe, make_recipe

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></style></pre>{{ 7 * 7 }}{% raw %}\x00\ud800"
"""What a prompt, an answer or a name may hold at worst."""
VERSIONS = {"python": "3.11", "torch": "2.13"}


class Reader(HTMLParser):
    """The elements of a page, its headings, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in ("h1", "h2", "h3", "h4"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """Return the attributes of each element of a name."""
        return [attributes for name, attributes in self.elements if name == tag]


def judged(prompt_class: PromptClass, outcomes: Sequence[bool], answer: str = "Sure.", words: str = "") -> JudgedSet:
    """Return a set whose answers were judged so that these outcomes are the wished ones."""
    good, bad = AnswerClass.FULL_COMPLIANCE, AnswerClass.FULL_REFUSAL
    if prompt_class is PromptClass.HARMFUL:
        good, bad = bad, good
    prompts = tuple(Prompt(f"{words}prompt {i} of {prompt_class.in_words}") for i in range(len(outcomes)))
    title = f"{words}{prompt_class.in_words}"
    chosen = EvaluationSet(prompt_class.value, title, PromptSet(prompt_class, "bundled test", prompts))
    return JudgedSet(chosen, [[answer] * len(outcomes)], [[Verdict(good if one else bad, "so") for one in outcomes]])


def measurement(
    compliant: int, refused: int, total: int = 100, answer: str = "Sure.", words: str = "", refused_of: int = 100
) -> Measurement:
    """Return a model that complies with the first so many harmless prompts, and refuses so many harmful ones."""
    return Measurement(
        [
            judged(PromptClass.PSEUDO_HARMFUL, [i < compliant for i in range(total)], answer, words),
            judged(PromptClass.HARMFUL, [i < refused for i in range(refused_of)], answer, words),
        ]
    )


def divergence() -> Divergence:
    """Return some damage."""
    return Divergence(
        mean=0.0123,
        low=0.01,
        high=0.02,
        per_position=[0.0123],
        percentile_95=0.03,
        worst=0.04,
        worst_prompt=EVIL,
        tokens=8,
        positions=400,
        prompts=50,
    )


def measures(layers: Sequence[int], kinds: Sequence[str] = ("q", "down")) -> list[EditMeasures]:
    """Return what an edit takes from each matrix."""
    return [
        EditMeasures(
            submodule=f"layers.{layer}.{kind}",
            kind=kind,
            layer=layer,
            stable_rank=20.0,
            energy_bound=0.8,
            energy=0.02 + 0.001 * layer,
            harmful_overlap=0.1,
        )
        for layer in layers
        for kind in kinds
    ]


def record(before: Measurement, after: Measurement, plan: Plan, **settings: object) -> Record:
    """Return the record of a run with these answers; ``settings`` are the recipe's."""
    recipe: Recipe = make_recipe(**{"model": "org/tiny", **settings})
    described = PromptsRecord(source="bundled calibration", count=10, sha256="0" * 64)
    return Record(
        model=ModelRecord(
            name=recipe.model, revision=None, sha256="1" * 64, chat_template_sha256="2" * 64, stored_dtype="bfloat16"
        ),
        plan=plan,
        recipe=recipe,
        judge="rules-2",
        calibration={"harmful": described},
        evaluation={one.name: described for one in before.sets},
        source=before.scores,
        result=after.scores,
        changes={
            one.name: change(one.outcomes, two.outcomes) for one, two in zip(before.sets, after.sets, strict=True)
        },
        compliance_change=pooled_change(before.sets, after.sets, PromptClass.PSEUDO_HARMFUL),
        safety_change=pooled_change(before.sets, after.sets, PromptClass.HARMFUL),
        benign_divergence=divergence(),
        edited_tensors=["a", "b"],
        submodules=measures(plan.layers),
        run=RunRecord(
            device="cpu",
            threads=2,
            dtype="bfloat16",
            calibration_batch_sizes=(8,),
            answer_batch_sizes=(8, 8),
            shared_head_tokens=3,
            versions=VERSIONS,
        ),
    )


def search_record(chosen: int | None = 2) -> SearchRecord:
    """Return a search with three points, two of them measured."""
    plans = [Plan(layers=(layer,), rank=8, strength=0.5 + layer / 10) for layer in (1, 2, 3)]
    estimated = [
        ScoredPlan(plan=plan, compliance_rate=60 + 10 * i, safety_score=95 - 5 * i, divergence=0.01)
        for i, plan in enumerate(plans)
    ]
    measured = [
        ValidationRates(compliance_rate=62, safety_score=94),
        ValidationRates(compliance_rate=71, safety_score=92),
        None,
    ]
    return SearchRecord(
        made_by={"model": "3" * 64, "calibration": {"harmful": "4" * 64}, "judge": EVIL, "ranks": [8, 16]},
        silhouettes={0: 0.05, 1: 0.1, 2: 0.2, 3: 0.15},
        screened={one.plan.layers[0]: one for one in estimated},
        candidates=(1, 2, 3),
        source=ValidationRates(compliance_rate=55, safety_score=95),
        lowest_safety=91,
        trials=40,
        points=[
            SearchPoint(number=i, plan=plan, estimated=one, measured=two)
            for i, (plan, one, two) in enumerate(zip(plans, estimated, measured, strict=True), 1)
        ],
        chosen=chosen,
    )


def analysis_result(words: str = "some words", summary: Sequence[str] = (), rows: int = 4) -> AnalysisResult:
    """Return a result of an analysis: two tables with a figure of each, and a table without one."""
    steps = make_table("steps", words, ("step", "value"), [(f"{words} {i}", i / 3) for i in range(3)])
    layers = make_table(
        "layers", words, ("layer", "model", "value"), [(i, who, i / 7) for i in range(rows) for who in ("one", "two")]
    )
    others = make_table("others", words, layers.columns, layers.rows)
    shared = {"title": words, "y": "value", "x_label": words[:30], "y_label": words[:30]}
    bars = BarFigure(name="bars", table="steps", x="step", **shared)
    lines = LineFigure(name="lines", table="layers", x="layer", panel="model", **shared)
    return AnalysisResult(tables=(steps, layers, others), figures=(bars, lines), summary=tuple(summary))


def analysed(found: dict[str, AnalysisResult], **settings: object) -> Page:
    """Return the page of analyses, by their names in the catalogue."""
    request = validate_settings(AnalyzeRequest, {"model": "org/tiny", **settings})
    described = PromptsRecord(source="bundled calibration", count=10, sha256="0" * 64)
    entries = [(BY_NAME[name], one) for name, one in found.items()]
    return analysis_page(request, entries, request.model, "1" * 64, {"calibration harmful": described}, {})


COST = MethodCost(
    answers=200, seconds_per_answer=1.5, tokens_per_answer=20.0, seconds_per_token=0.075, answer_ratio=1, token_ratio=1
)


def compared_record(measured: dict[str, Measurement], **parts: Any) -> ComparisonRecord:
    """Return the record of a comparison, of methods by name; what ``settings`` has for one are its settings."""
    asked = {"model": "org/tiny", "methods": tuple(measured), **parts.get("request", {})}
    settings = parts.get("settings", {})
    default = EarlierEvaluation("default", measured["default"]) if "default" in measured else None
    methods = [
        MethodResult(
            name=name,
            settings={"method": name, **settings.get(name, {})},
            learned=parts.get("learned", {}),
            learned_sha256="7" * 64,
            fit_is_model=name in parts.get("fits", ()),
            scores=one.scores,
            against_default=default.compare(one) if default is not None and name != "default" else None,
            cost=COST,
            sessions=[],
        )
        for name, one in measured.items()
    ]
    described = PromptsRecord(source="bundled calibration", count=10, sha256="0" * 64)
    return ComparisonRecord(
        request=validate_settings(CompareRequest, asked),
        made_by={"model": "1" * 64},
        judge="rules-2",
        prompts={"harmful": described},
        calibration={"benign": described},
        validation={},
        methods=methods,
        left_out=parts.get("left_out", {}),
        versions=VERSIONS,
    )


def compared(measured: dict[str, Measurement], **parts: Any) -> Page:
    """Return the page of a comparison."""
    return comparison_page(compared_record(measured, **parts), measured, Path("comparison"))
