"""The prompts of a run, for calibration, search and measurement; no prompt is in two of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from prosafeprune.errors import InputError
from prosafeprune.evaluation.sets import EvaluationSet, SetChoice, choose_sets
from prosafeprune.progress import Reporter
from prosafeprune.prompts import (
    PromptClass,
    PromptSet,
    bundled_prompts,
    describe_overlap,
    hold_out,
    read_prompts,
    require_splits_disjoint,
    without_overlaps,
)
from prosafeprune.requests.plan_options import CalibrationOptions
from prosafeprune.requests.recipe import Recipe

PromptSets = Mapping[PromptClass, PromptSet]
BENIGN_PROMPTS = 50
"""For the divergence from the base model."""
FEW = 2
"""If there are fewer own prompts than this many times the rank, they are added to the bundled ones."""
MOST_LISTED = 20


@dataclass(frozen=True)
class CalibrationPrompts:
    """The calibration prompts, and those of the user's files that are held out."""

    sets: PromptSets
    held_out: Sequence[EvaluationSet]


def read_calibration(options: CalibrationOptions, rank: int, seed: int) -> CalibrationPrompts:
    """Return the calibration prompts of each class, at least ``rank`` of them, and what is held out.

    If there are few own prompts, they are added to the bundled ones, except those similar to an own prompt.

    Raises:
        InputError: a file cannot be read, a class has fewer prompts than the rank, or none can be held out.
    """
    own: dict[PromptClass, PromptSet] = {}
    held: list[EvaluationSet] = []
    for prompt_class in PromptClass:
        source = getattr(options, prompt_class.value)
        if source is None:
            continue
        own[prompt_class] = read_prompts(source, prompt_class, options.prompt_field)
        if options.hold_out:
            own[prompt_class], kept = hold_out(own[prompt_class], options.hold_out, seed)
            name = f"held-out-{prompt_class.in_words}"
            held.append(EvaluationSet(name, f"held-out {prompt_class.in_words}", kept))
    if options.hold_out and not own:
        raise InputError("--hold-out: there are no prompts of your own. Give them with --pseudo-harmful FILE.")
    known = [*own.values(), *(one.prompts for one in held)]
    sets = {}
    for prompt_class in PromptClass:
        given = own.get(prompt_class)
        if given is None:
            given = bundled_prompts(prompt_class, "calibration")
        elif len(given) < FEW * rank and not options.only_mine:
            given = _filled(given, known, options.samples, seed)
        sets[prompt_class] = given.spread(options.samples, seed)
    _require_rank(sets, rank, options)
    return CalibrationPrompts(sets, held)


def _filled(own: PromptSet, known: Sequence[PromptSet], size: int, seed: int) -> PromptSet:
    """Return own prompts, filled up to ``size`` with bundled ones."""
    bundled, _ = without_overlaps(bundled_prompts(own.prompt_class, "calibration"), known)
    added = bundled.sample(max(0, size - len(own)), seed)
    return replace(own, source=f"{own.source} + {bundled.source}", prompts=(*own.prompts, *added.prompts))


def _require_rank(sets: PromptSets, rank: int, options: CalibrationOptions) -> None:
    smallest = min(sets.values(), key=len)
    if len(smallest) < rank:
        remedy = "a smaller --rank, or leave out --only-mine" if options.only_mine else "or a smaller --rank"
        raise InputError(
            f"Rank {rank} needs at least {rank} prompts of each class, and there are {len(smallest)} "
            f"{smallest.prompt_class.in_words} ones. Give more prompts, {remedy}."
        )


def describe_calibration(options: CalibrationOptions, calibration: CalibrationPrompts) -> list[str]:
    """Return a line for each class with prompts of the user: their number, and how they are used."""
    held = {one.prompt_class: len(one.prompts) for one in calibration.held_out}
    lines = []
    for prompt_class, prompts in calibration.sets.items():
        source = getattr(options, prompt_class.value)
        if source is None:
            continue
        line = f"{prompt_class.in_words} calibration prompts: {len(prompts)} from {prompts.source}"
        if prompts.source != source:
            line += " (your own are few; --only-mine leaves the bundled ones out)"
        if prompt_class in held:
            line += f"; {held[prompt_class]} more are held out and measured on"
        lines.append(f"{line}.")
    return lines


def disjoint_prompts(
    options: CalibrationOptions,
    rank: int,
    calibration: PromptSets,
    validation: PromptSets,
    tested: Iterable[PromptSet],
    reporter: Reporter,
) -> tuple[PromptSets, PromptSets]:
    """Return calibration and validation prompts of which none is in two classes or in a set to measure on.

    Raises:
        InputError: a prompt is, and may not be dropped; or too few are left.
    """
    measured = list(tested)
    if not options.drop_overlaps:
        require_splits_disjoint(list(calibration.values()), list(validation.values()), measured)
        return calibration, validation
    found = []
    kept_validation = {}
    for name, prompts in validation.items():
        kept_validation[name], overlaps = without_overlaps(prompts, measured)
        found += overlaps
    kept = {}
    for name, prompts in calibration.items():
        classes = [one for other, one in calibration.items() if other is not name]
        kept[name], overlaps = without_overlaps(prompts, [*measured, *kept_validation.values(), *classes])
        found += overlaps
    _require_rank(kept, rank, options)
    if found:
        reporter.note(f"{len(found)} prompts to calibrate or search on are dropped, since they are also elsewhere:")
        for overlap in found[:MOST_LISTED]:
            reporter.note(f"  {describe_overlap(overlap)}")
        if len(found) > MOST_LISTED:
            reporter.note(f"  and {len(found) - MOST_LISTED} more.")
    return kept, kept_validation


def test_prompts(request: Recipe) -> tuple[list[EvaluationSet], PromptSet]:
    """Return what a pruned model is measured on: evaluation sets, and benign prompts for the divergence.

    The bundled test prompts are always among the sets.

    Raises:
        InputError: a set that the request names cannot be used.
    """
    few = request.test_samples
    sets = choose_sets(SetChoice(suite="bundled", samples=few, seed=request.seed))
    if request.suite == "paper" or request.benchmark or request.test_pseudo_harmful or request.test_harmful:
        further = replace(SetChoice.of(request, request.seed), suite="paper" if request.suite == "paper" else None)
        sets += choose_sets(further if few is None else replace(further, samples=min(few, further.samples or few)))
    benign = bundled_prompts(PromptClass.BENIGN, "test")
    return sets, benign.sample(min(BENIGN_PROMPTS, few or BENIGN_PROMPTS), request.seed)
