"""Calibration, validation and test prompts, read and kept apart; and all prompts of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from prosafeprune.errors import InputError
from prosafeprune.evaluation.earlier_pruning import EarlierPruning
from prosafeprune.evaluation.sets import (
    EvaluationSet,
    SetChoice,
    choose_sets,
    require_named_once,
    require_one_class,
    sets_in_modes,
)
from prosafeprune.progress import Reporter
from prosafeprune.prompts import (
    PromptClass,
    PromptSet,
    bundled_prompts,
    calibration_beyond,
    describe_overlap,
    hold_out,
    paper_prompts,
    require_splits_disjoint,
    validation_prompts,
    without_overlaps,
)
from prosafeprune.requests.compare import CompareRequest
from prosafeprune.requests.plan_options import CalibrationOptions
from prosafeprune.requests.recipe import Recipe
from prosafeprune.setup.calibration_sources import describe_earlier, read_users_prompts, require_not_measured

PromptSets = Mapping[PromptClass, PromptSet]
BENIGN_PROMPTS = 50
"""Benign test prompts for the divergence from the base model."""
MOST_LISTED = 20


@dataclass(frozen=True)
class CalibrationPrompts:
    """The calibration prompts, and those of the user's files that are held out."""

    sets: PromptSets
    held_out: Sequence[EvaluationSet]
    from_user: Mapping[PromptClass, int]
    """How many of each class are the user's; classes without any are left out."""

    def reduced_to(self, kept: PromptSets) -> CalibrationPrompts:
        """Return the prompts that are left in ``kept``, after overlaps were dropped."""
        left = {name: frozenset(prompts.texts) for name, prompts in kept.items()}
        users = {
            name: sum(text in left[name] for text in self.sets[name].texts[:count])
            for name, count in self.from_user.items()
        }
        return replace(self, sets=kept, from_user=users)


def read_calibration(
    options: CalibrationOptions, rank: int, seed: int, earlier: EarlierPruning | None = None
) -> CalibrationPrompts:
    """Return the calibration prompts of each class, at least ``rank`` of them, and what is held out.

    The user's prompts come first, and are filled up to ``options.samples`` with those of ``options.calibration`` that
    are not similar to them. The user's prompts of an ``earlier`` pruning, except those it was measured on, are added.

    Raises:
        InputError: a file cannot be read, a class has fewer prompts than the rank, or none can be held out.
    """
    user_prompts: dict[PromptClass, PromptSet] = {}
    held: list[EvaluationSet] = []
    for prompt_class in PromptClass:
        of_user = read_users_prompts(options, prompt_class, earlier)
        if of_user is None:
            continue
        user_prompts[prompt_class] = of_user
        if options.hold_out:
            user_prompts[prompt_class], held_out = hold_out(user_prompts[prompt_class], options.hold_out, seed)
            name = f"held-out-{prompt_class.in_words}"
            held.append(EvaluationSet(name, f"held-out {prompt_class.in_words}", held_out))
    if not user_prompts and (options.hold_out or options.only_mine):
        option = "--hold-out" if options.hold_out else "--only-mine"
        raise InputError(f"{option}: there are no prompts of your own. Give them with --pseudo-harmful FILE.")
    known = [*user_prompts.values(), *(test_set.prompts for test_set in held)]
    sets, used = {}, {}
    for prompt_class in PromptClass:
        of_user = user_prompts.get(prompt_class)
        kept = None if of_user is None else of_user.spread_over_sources(options.samples, seed)
        if kept is not None:
            used[prompt_class] = len(kept)
        if kept is not None and (options.only_mine or len(kept) == options.samples):
            sets[prompt_class] = kept
        else:
            general = _general(prompt_class, options, seed)
            sets[prompt_class] = _filled(kept, general, known if kept else [], options.samples, seed)
    _require_rank(sets, rank, options)
    return CalibrationPrompts(sets, held, used)


def _general(prompt_class: PromptClass, options: CalibrationOptions, seed: int) -> list[PromptSet]:
    """Return the sets that ``options.calibration`` names."""
    found = []
    if options.goes_beyond and prompt_class is not PromptClass.BENIGN:
        found.append(calibration_beyond(prompt_class))
    if options.calibration != "paper":
        found.append(bundled_prompts(prompt_class, "calibration"))
    if options.calibration in ("paper", "all"):
        found.append(paper_prompts(prompt_class, getattr(options, "data_dir", None)).sample(options.samples, seed))
    return found


def _filled(
    of_user: PromptSet | None, general: Sequence[PromptSet], known: Sequence[PromptSet], size: int, seed: int
) -> PromptSet:
    """Return the user's prompts, filled up to ``size`` with prompts of all ``general`` sets in equal shares."""
    parts = [] if of_user is None else [of_user]
    # With the user's prompts, records name the source of each.
    general = general if of_user is None else [prompts.with_sources() for prompts in general]
    for index, prompts in enumerate(general):
        room = (size - sum(map(len, parts))) // (len(general) - index)
        others, _ = without_overlaps(prompts, [*known, *parts])
        parts.append(others.spread(room, seed) if room else replace(others, prompts=()))
    source = " + ".join(part.source for part in parts if len(part))
    return replace(general[0], source=source, prompts=tuple(prompt for part in parts for prompt in part))


def _require_rank(sets: PromptSets, rank: int, options: CalibrationOptions) -> None:
    smallest = min(sets.values(), key=len)
    if len(smallest) < rank:
        remedy = "a smaller --rank, or leave out --only-mine" if options.only_mine else "or a smaller --rank"
        raise InputError(
            f"Rank {rank} needs at least {rank} prompts of each class, and there are {len(smallest)} "
            f"{smallest.prompt_class.in_words} ones. Give more prompts, {remedy}."
        )


def describe_calibration(
    options: CalibrationOptions, calibration: CalibrationPrompts, earlier: EarlierPruning | None = None
) -> list[str]:
    """Return a line for each class with prompts of the user: their number, and how they are used.

    Before them, what the record of an ``earlier`` pruning names and is read again.
    """
    held = {test_set.prompt_class: len(test_set.prompts) for test_set in calibration.held_out}
    lines = [] if earlier is None else describe_earlier(options, earlier)
    for prompt_class, prompts in calibration.sets.items():
        if not getattr(options, prompt_class.value):
            continue
        line = f"{prompt_class.in_words} calibration prompts: {len(prompts)} from {prompts.source}"
        users = calibration.from_user[prompt_class]
        if users < len(prompts):
            line += f", {users} of them your own (--only-mine leaves the others out)"
        parts = prompts.by_source()
        if len(getattr(options, prompt_class.value)) > 1 and len(parts) > 1:
            line += f"; by source {', '.join(str(len(part)) for part in parts)}"
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
        InputError: a prompt is in two of these and may not be dropped; or too few are left.
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
        classes = [other for other_name, other in calibration.items() if other_name is not name]
        kept[name], overlaps = without_overlaps(prompts, [*measured, *kept_validation.values(), *classes])
        if overlaps and len(kept[name]):  # a source of which nothing is left is not one
            kept[name] = replace(kept[name], source=" + ".join(part.source for part in kept[name].by_source()))
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
    sets = choose_sets(SetChoice(suite="bundled"))
    if few is not None:
        sets = [replace(test_set, prompts=test_set.prompts.fixed_part(few)) for test_set in sets]
    suite = request.suite if request.suite != "bundled" else None
    if suite or request.benchmark or request.test_pseudo_harmful or request.test_harmful:
        further = replace(SetChoice.of(request, request.seed), suite=suite)
        sets += choose_sets(further if few is None else replace(further, samples=min(few, further.samples or few)))
        require_named_once(sets)
    benign = bundled_prompts(PromptClass.BENIGN, "test")
    return sets, benign.sample(min(BENIGN_PROMPTS, few or BENIGN_PROMPTS), request.seed)


def in_modes(sets: PromptSets, thinking: str) -> PromptSets:
    """Return the sets; with ``--thinking both``, each prompt once without and once with thinking."""
    return {name: prompts.in_both_modes() for name, prompts in sets.items()} if thinking == "both" else sets


@dataclass(frozen=True)
class ComparisonPrompts:
    """All prompts of a comparison; the splits are disjoint."""

    measured: list[EvaluationSet]
    calibration: PromptSets
    validation: PromptSets


def read_prompts_of(request: CompareRequest, reporter: Reporter) -> ComparisonPrompts:
    """Return all prompts of a comparison.

    Raises:
        InputError: a set cannot be read, or two splits share a prompt.
    """
    rank = request.rank if request.search is None and request.pruned is None else 1  # a finished plan has its own
    given = read_calibration(request, rank, request.seed)
    measured = [*given.held_out, *choose_sets(SetChoice.of(request, request.seed))]
    require_one_class(measured)
    require_not_measured(request, measured)
    validation = validation_prompts(request.seed, beyond=request.goes_beyond)
    tested = [test_set.prompts for test_set in measured]
    calibration, validation = disjoint_prompts(request, rank, given.sets, validation, tested, reporter)
    thinking = request.thinking
    calibration, validation = in_modes(calibration, thinking), in_modes(validation, thinking)
    return ComparisonPrompts(sets_in_modes(measured, thinking), calibration, validation)
