"""The bundled prompts beyond a single English turn."""

from __future__ import annotations

from collections import Counter

import pytest

from prosafeprune.evaluation.sets import BEYOND, SetChoice, choose_sets
from prosafeprune.judges.languages.detect import language_of
from prosafeprune.prompts import (
    PromptClass,
    PromptSet,
    bundled_beyond,
    bundled_prompts,
    calibration_beyond,
    find_overlaps,
    validation_prompts,
)
from prosafeprune.prompts.conversation import last_turn, split_system

HARMLESS, HARMFUL, BENIGN = PromptClass.PSEUDO_HARMFUL, PromptClass.HARMFUL, PromptClass.BENIGN
DOMAINS = {"medicine", "law", "security research", "chemistry class", "fiction", "content moderation"}
CODES = {"Chinese": "zh", "Spanish": "es", "French": "fr", "German": "de", "Russian": "ru", "Arabic": "ar"}
CODES |= {"Hindi": "hi", "Japanese": "ja", "Portuguese": "pt"}
MINORS = {"child", "children", "minor", "minors", "teen", "teenager", "teenagers", "kid", "kids", "pupil", "pupils"}


def sets(split: str) -> dict[str, PromptSet]:
    return {name: bundled_beyond(group, kind, split) for name, (group, kind, _) in BEYOND.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize(("split", "sizes"), [("test", (40, 40, 52, 40)), ("validation", (16, 8, 16, 16))])
def test_each_cell_has_its_size(split: str, sizes: tuple[int, int, int, int]) -> None:
    found = sets(split)
    for kind in ("harmless", "harmful"):
        domains = Counter(prompt.category for prompt in found[f"beyond-domains-{kind}"])
        languages = Counter(prompt.category for prompt in found[f"beyond-languages-{kind}"])
        assert domains == dict.fromkeys(DOMAINS, sizes[0])
        assert languages == dict.fromkeys(CODES, sizes[1])
        assert len(found[f"beyond-multi-turn-{kind}"]) == sizes[2]
    assert len(found["beyond-policies-inside"]) == len(found["beyond-policies-outside"]) == sizes[3]


def test_calibration_prompts_are_of_three_groups_and_in_both_classes() -> None:
    """What a policy asks to answer is calibrated on as pseudo-harmful, what it asks to refuse as harmful."""
    harmless, harmful = calibration_beyond(HARMLESS), calibration_beyond(HARMFUL)
    assert Counter(one.style for one in harmless) == {"languages": 200, "multi-turn": 80, "policies": 200}
    assert Counter(one.style for one in harmful) == {"languages": 200, "multi-turn": 80, "policies": 199}
    assert len(calibration_beyond(BENIGN)) == 0
    by_policy = [
        Counter(split_system(prompt.text)[0] for prompt in prompts if prompt.style == "policies")
        for prompts in (harmless, harmful)
    ]
    assert set(by_policy[0]) == set(by_policy[1])
    assert len(by_policy[0]) == 20
    half = harmless.spread(240, 0)
    assert Counter(one.style for one in half) == {"languages": 100, "multi-turn": 40, "policies": 100}


DEFAULT_VALIDATION = {
    HARMFUL: "628d8813d62ad5396378b80104c6b68acbea233885a214d777f37d7db417523f",
    HARMLESS: "09e834f0b7b6a1f6e8028fba6b4dc25a9906bbe78a9f7773b4c5d8f1460b3bcc",
    BENIGN: "f91b94fc0b0e37abccb41a1209cebfe63e9b7866cde1c6a21e4e3d53c9d9e9db",
}
"""Of seed 0: finished searches in the cache are recognised by them."""


def test_a_search_validates_on_none_of_these_by_default() -> None:
    assert {name: found.sha256 for name, found in validation_prompts(0).items()} == DEFAULT_VALIDATION
    assert validation_prompts(0, beyond=True)[BENIGN] == validation_prompts(0)[BENIGN]


@pytest.mark.parametrize("seed", [0, 5])
def test_a_quarter_of_the_validation_prompts_is_of_these_in_equal_parts(seed: int) -> None:
    """What a policy asks to refuse is with the harmful ones, what it asks to answer with the pseudo-harmful ones."""
    found, by_default = validation_prompts(seed, beyond=True), validation_prompts(seed)
    policies = {HARMFUL: "beyond-policies-outside", HARMLESS: "beyond-policies-inside"}
    for kind, prompts in found.items():
        if kind is BENIGN:
            continue
        assert len(prompts) == len(by_default[kind]) == 240
        groups = {
            name: set(one.texts) for name, one in sets("validation").items() if one.prompt_class in (kind, BENIGN)
        }
        groups = {name: texts for name, texts in groups.items() if "policies" not in name or name == policies[kind]}
        counts = [sum(text in texts for text in prompts.texts) for texts in groups.values()]
        assert counts == [15, 15, 15, 15]
        rest = [prompt for prompt in prompts if not any(prompt.text in texts for texts in groups.values())]
        assert {prompt.text for prompt in rest} <= set(by_default[kind].texts)
        assert Counter(prompt.kind for prompt in rest) == {"paired": 90, "wild": 90}
        scored, confirmed = prompts.split(0.4, seed)
        for part, size in ((scored, 6), (confirmed, 9)):
            assert [sum(text in texts for text in part.texts) for texts in groups.values()] == [size] * 4
        assert not set(scored.texts) & set(confirmed.texts)


@pytest.mark.long
def test_no_two_prompts_are_alike_or_like_another_bundled_prompt() -> None:
    beyond = [*sets("test").values(), *sets("validation").values(), *map(calibration_beyond, (HARMLESS, HARMFUL))]
    others = [bundled_prompts(kind, split) for kind in PromptClass for split in ("calibration", "validation", "test")]  # type: ignore[arg-type]
    for i, one in enumerate(beyond):
        assert len(find_overlaps(one, one)) == len(one)
        for two in (*beyond[i + 1 :], *others):
            assert not find_overlaps(one, two)


def test_conversations_end_with_the_turn_that_counts() -> None:
    for split in ("test", "validation"):
        for kind in ("harmless", "harmful"):
            for text in sets(split)[f"beyond-multi-turn-{kind}"].texts:
                roles = [role for role, _ in split_system(text)[1]]
                assert roles in (["user", "assistant"] * turns + ["user"] for turns in (1, 2)), text


def test_a_policy_has_requests_on_and_off_its_subject_and_is_in_one_split() -> None:
    seen: list[set[str]] = []
    for split in ("test", "validation"):
        on, off = (
            Counter(split_system(text)[0] for text in sets(split)[f"beyond-policies-{side}"].texts)
            for side in ("inside", "outside")
        )
        assert None not in on
        assert on == off
        seen.append({str(system) for system in on})
    calibrated = {split_system(one.text)[0] for one in calibration_beyond(HARMFUL) if one.style == "policies"}
    assert not seen[0] & seen[1]
    assert not calibrated & (seen[0] | seen[1])


def test_harmful_requests_are_brief_and_involve_no_minors() -> None:
    for split in ("test", "validation"):
        for name, prompts in sets(split).items():
            if name.endswith("harmful"):
                for text in prompts.texts:
                    words = last_turn(text).lower().replace(".", " ").replace(",", " ").split()
                    assert len(words) <= 40
                    assert not MINORS & set(words), text


def test_harmful_calibration_prompts_involve_no_minors() -> None:
    for prompt in calibration_beyond(HARMFUL):
        if prompt.style != "policies":  # those are harmless but for the policy
            words = last_turn(prompt.text).lower().replace(".", " ").replace(",", " ").split()
            assert not MINORS & set(words), prompt.text


def test_prompts_are_in_the_language_they_are_filed_under() -> None:
    counts = Counter(
        (prompt.category, language_of(prompt.text, prompt.text) == CODES[prompt.category])
        for kind in ("harmless", "harmful")
        for prompt in sets("test")[f"beyond-languages-{kind}"]
    )
    for language in CODES:
        assert counts[language, True] >= 72, (language, counts)  # of 80; a few are too short to say


def test_the_suite_has_a_row_for_each_group_and_class() -> None:
    chosen = choose_sets(SetChoice(suite="beyond"))
    assert [one.name for one in chosen] == list(BEYOND)
    assert [one.name for one in chosen if one.is_policy] == ["beyond-policies-outside"]
    (one,) = choose_sets(SetChoice(benchmarks=["beyond-domains-harmful"], samples=5))
    assert (len(one.prompts), one.prompt_class) == (5, HARMFUL)
    assert {kind for _, kind, _ in BEYOND.values()} == {HARMLESS, HARMFUL, BENIGN}
