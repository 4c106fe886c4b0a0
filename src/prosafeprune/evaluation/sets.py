"""The prompts that a model is measured on: public benchmarks, the bundled test prompts, the user's own files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from prosafeprune.errors import InputError
from prosafeprune.evaluation.benchmarks import BENCHMARKS, BY_NAME, PARTS, Benchmark
from prosafeprune.evaluation.public_sets import parts_of, read_benchmark
from prosafeprune.progress import Reporter
from prosafeprune.prompts import (
    PromptClass,
    PromptSet,
    bundled_beyond,
    bundled_prompts,
    calibration_beyond,
    read_reviewed,
    require_disjoint,
)
from prosafeprune.prompts.bundled import Beyond
from prosafeprune.prompts.near_duplicates import in_words
from prosafeprune.requests.measuring import BenchmarkOptions, Suite
from prosafeprune.text import beginning, did_you_mean

BUNDLED = {
    "bundled-pseudo-harmful": PromptClass.PSEUDO_HARMFUL,
    "bundled-harmful": PromptClass.HARMFUL,
    "bundled-benign": PromptClass.BENIGN,
}
BEYOND: dict[str, tuple[Beyond, PromptClass, str]] = {
    "beyond-multi-turn-harmless": ("multi-turn", PromptClass.PSEUDO_HARMFUL, "multi-turn, harmless"),
    "beyond-domains-harmless": ("domains", PromptClass.PSEUDO_HARMFUL, "domains, harmless"),
    "beyond-languages-harmless": ("languages", PromptClass.PSEUDO_HARMFUL, "languages, harmless"),
    "beyond-policies-inside": ("policies", PromptClass.BENIGN, "policies, on the subject"),
    "beyond-multi-turn-harmful": ("multi-turn", PromptClass.HARMFUL, "multi-turn, harmful"),
    "beyond-domains-harmful": ("domains", PromptClass.HARMFUL, "domains, harmful"),
    "beyond-languages-harmful": ("languages", PromptClass.HARMFUL, "languages, harmful"),
    "beyond-policies-outside": ("policies", PromptClass.HARMFUL, "policies, off the subject"),
}
"""Bundled sets beyond a single English turn: group, class and title."""
OFF_POLICY = "beyond-policies-outside"
SPOT_CHECK = "spot-check-"
"""Name prefix of the sets of a spot check (:mod:`prosafeprune.evaluation.spot_check`)."""
SPOT_CHECK_OFF_POLICY = f"{SPOT_CHECK}off-policy"
USERS_SETS = ("own-", "held-out-")
"""Name prefixes of sets of the user's own prompts."""
WITH_THINKING = "-thinking"
"""Ends the name of a set whose prompts are answered after thinking (``--thinking both``)."""
BENCHMARK_NAMES = (*BY_NAME, *PARTS, *BUNDLED, *BEYOND)
"""What ``--benchmark`` knows."""


@dataclass(frozen=True)
class EvaluationSet:
    """Prompts of one class, reported as one row or column."""

    name: str
    title: str
    prompts: PromptSet
    by_category: bool = False
    """Whether rates are also reported for each category of its prompts."""

    @property
    def is_policy(self) -> bool:
        """Whether its prompts are to be refused for the sake of an operator's policy alone, not for being harmful.

        They are reported and held to the safety floor separately, and are excluded from averages.
        """
        return self.name.removesuffix(WITH_THINKING) in (OFF_POLICY, SPOT_CHECK_OFF_POLICY)

    @property
    def is_users(self) -> bool:
        """Whether its prompts are the user's own, held out or only measured on."""
        return self.name.startswith(USERS_SETS)

    @property
    def prompt_class(self) -> PromptClass:
        """The class of its prompts: refusals are counted for harmful ones, compliance for the others."""
        return self.prompts.prompt_class


@dataclass(frozen=True)
class SetChoice:
    """What to measure on; the bundled test prompts by default."""

    suite: Suite | None = None
    benchmarks: Sequence[str] = ()
    """Names of benchmarks, or ``NAME=FILE`` to read a file instead of the benchmark's home."""
    pseudo_harmful: str | None = None
    """The user's file or hub dataset of pseudo-harmful prompts."""
    harmful: str | None = None
    prompt_field: str = "prompt"
    data_dir: Path | None = None
    samples: int | None = None
    """Maximum prompts drawn from each set; None for the suite's sample size, or all."""
    seed: int = 0

    @classmethod
    def of(cls, options: BenchmarkOptions, seed: int) -> Self:
        """Return the choice that a request's benchmark options make."""
        return cls(
            suite=options.suite,
            benchmarks=options.benchmark,
            pseudo_harmful=options.test_pseudo_harmful,
            harmful=options.test_harmful,
            prompt_field=options.prompt_field,
            data_dir=options.data_dir,
            samples=options.benchmark_samples,
            seed=seed,
        )


def choose_sets(choice: SetChoice) -> list[EvaluationSet]:
    """Read the chosen sets: the user's own first, then the suite's in their order, then benchmarks.

    Raises:
        InputError: an unknown benchmark, data that cannot be fetched or read, one name twice, or a prompt of the
            user's in two classes.
    """
    if choice.data_dir is not None and not choice.data_dir.is_dir():
        raise InputError(f"{choice.data_dir}: no such folder. Check --data-dir.")
    chosen = _users_sets(choice)
    if choice.suite == "paper":
        chosen += [_public(b, None, choice, b.paper_size) for b in BENCHMARKS if b.paper_size is not None]
    elif choice.suite == "beyond":
        chosen += [_beyond(name, choice) for name in BEYOND]
    elif choice.suite == "bundled" or not (choice.benchmarks or choice.pseudo_harmful or choice.harmful):
        chosen += [_bundled(name, choice) for name in list(BUNDLED)[:2]]
    chosen += [_named(text, choice) for given in choice.benchmarks for text in parts_of(given)]
    require_named_once(chosen)
    require_one_class(chosen)
    return chosen


def _users_sets(choice: SetChoice) -> list[EvaluationSet]:
    sources = {PromptClass.PSEUDO_HARMFUL: choice.pseudo_harmful, PromptClass.HARMFUL: choice.harmful}
    chosen = []
    for prompt_class, source in sources.items():
        if source is not None:
            prompts = _sample(read_reviewed(source, prompt_class, choice.prompt_field), choice, None)
            chosen.append(EvaluationSet(f"own-{prompt_class.in_words}", f"own {prompt_class.in_words}", prompts))
    return chosen


def users_first(sets: Sequence[EvaluationSet]) -> list[EvaluationSet]:
    """Return the user's own sets, then the others."""
    return sorted(sets, key=lambda evaluation_set: not evaluation_set.is_users)


def require_named_once(sets: Sequence[EvaluationSet]) -> None:
    """Raise InputError when two sets have the same name: results are known by it."""
    names = [evaluation_set.name for evaluation_set in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"{', '.join(twice)}: named twice, or measured by default. Name each benchmark once, and none that the "
            "command measures by default (--dry-run lists them)."
        )


def require_one_class(sets: Sequence[EvaluationSet]) -> None:
    """Raise InputError when a prompt of the user's own is measured both as harmless and as harmful."""
    for users_set in (evaluation_set for evaluation_set in sets if evaluation_set.is_users):
        known = {in_words(prompt.text) for prompt in users_set.prompts}
        for other in sets:
            if (other.prompt_class is PromptClass.HARMFUL) is (users_set.prompt_class is PromptClass.HARMFUL):
                continue
            shared = [prompt.text for prompt in other.prompts if in_words(prompt.text) in known]
            if shared:
                as_own, as_other = users_set.prompt_class.in_words, other.prompt_class.in_words
                raise InputError(
                    f"{users_set.prompts.source}: {len(shared)} of its prompts are measured as {as_own} and, in "
                    f"{other.title}, as {as_other}, such as {beginning(shared[0], 60)!r}. A prompt has one class: "
                    "check which file belongs to which option."
                )


def sets_in_modes(sets: Sequence[EvaluationSet], thinking: str) -> list[EvaluationSet]:
    """Return the sets as they are; with ``--thinking both``, then each once more, answered after thinking."""
    if thinking != "both":
        return list(sets)
    again = [
        replace(
            evaluation_set,
            name=evaluation_set.name + WITH_THINKING,
            title=f"{evaluation_set.title}, thinking",
            prompts=evaluation_set.prompts.with_thinking(),
        )
        for evaluation_set in sets
    ]
    return [*sets, *again]


def _named(text: str, choice: SetChoice) -> EvaluationSet:
    name, _, file = text.partition("=")
    if name in BUNDLED:
        return _bundled(name, choice)
    if name in BEYOND:
        return _beyond(name, choice)
    if name not in BY_NAME:
        like = did_you_mean(name, BENCHMARK_NAMES)
        hint = " Your own prompts: --test-pseudo-harmful FILE, --test-harmful FILE." if file else ""
        raise InputError(f"{name}: no such benchmark.{like}{hint} There are: {', '.join(BENCHMARK_NAMES)}.")
    return _public(BY_NAME[name], file or None, choice, None)


def _bundled(name: str, choice: SetChoice) -> EvaluationSet:
    prompts = bundled_prompts(BUNDLED[name], "test")
    return EvaluationSet(name, name.replace("-", " ", 1), _sample(prompts, choice, None))


def _beyond(name: str, choice: SetChoice) -> EvaluationSet:
    group, prompt_class, title = BEYOND[name]
    prompts = bundled_beyond(group, prompt_class, "test")
    return EvaluationSet(name, title, _sample(prompts, choice, None), by_category=group in ("domains", "languages"))


def _public(benchmark: Benchmark, file: str | None, choice: SetChoice, size: int | None) -> EvaluationSet:
    prompts = read_benchmark(benchmark, file, choice.data_dir, f"--benchmark {benchmark.name}=FILE")
    named = replace(prompts, source=f"{benchmark.title} ({prompts.source})")
    return EvaluationSet(benchmark.name, benchmark.title, _sample(named, choice, size))


def _sample(prompts: PromptSet, choice: SetChoice, size: int | None) -> PromptSet:
    wanted = choice.samples if choice.samples is not None else size
    return prompts if wanted is None else prompts.sample(wanted, choice.seed)


def require_no_leak(calibration: Mapping[PromptClass, Mapping[str, Any]], sets: Sequence[EvaluationSet]) -> None:
    """Check that no bundled calibration prompt, and no public set or file that was calibrated on, is measured on.

    Args:
        calibration: from a record: the description of the calibration prompts of each class. Prompts of the user's own
            are known by the hash of each file's alone: a file of which all were used is recognised, not a part of one.
        sets: what is measured on.

    Raises:
        InputError: naming the offending prompts, or the set.
    """
    sources = [part for prompts in calibration.values() for part in str(prompts.get("source", "")).split(" + ")]
    parts = [part for prompts in calibration.values() for part in (prompts, *prompts.get("sources", ()))]
    used_files = {str(part.get("sha256")) for part in parts}
    for evaluation_set in sets:
        name = evaluation_set.name.removesuffix(WITH_THINKING)
        if name in BY_NAME and any(source.startswith((f"{name} (", f"{BY_NAME[name].title} (")) for source in sources):
            raise InputError(
                f"{name}: the model was calibrated on prompts of this set, so it must not be measured on it. Leave it "
                "out."
            )
        if evaluation_set.prompts.sha256 in used_files:
            raise InputError(
                f"{evaluation_set.prompts.source}: the model was calibrated on these prompts, so it must not be "
                "measured on them. Leave them out."
            )
    for used in bundled_calibration(calibration):
        require_disjoint([used], [evaluation_set.prompts for evaluation_set in sets])


def warn_of_calibrated_names(
    calibration: Mapping[PromptClass, Mapping[str, Any]], sets: Sequence[EvaluationSet], reporter: Reporter
) -> None:
    """Warn of the user's files to measure on that have the name of one that was calibrated on.

    Of a file a part of which was used, a record has only the name and a hash of that part: the two may share prompts.
    """
    sources = {part for prompts in calibration.values() for part in str(prompts.get("source", "")).split(" + ")}
    names = {Path(source).name for source in sources}
    for file in dict.fromkeys(one.prompts.source for one in sets if one.is_users):
        if Path(file).name in names:
            reporter.warning(
                f"{file}: the model was calibrated on prompts of a file of this name. If they are among those measured "
                "now, the figures are flattered: measure on prompts that were held out."
            )


def bundled_calibration(calibration: Mapping[PromptClass, Mapping[str, Any]]) -> list[PromptSet]:
    """Return the bundled calibration prompts that were drawn from, by a record's description of each class."""
    return [
        bundled
        for name, prompts in calibration.items()
        for bundled in (bundled_prompts(name, "calibration"), calibration_beyond(name))
        if bundled.source in str(prompts.get("source", ""))
    ]
