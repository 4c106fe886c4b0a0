"""Which calibration prompts a search makes its edits from."""

from __future__ import annotations

from prosafeprune.prompts import Prompt, PromptClass, PromptSet
from prosafeprune.setup.calibrate import single_rows


def of_styles(prompt_class: PromptClass, *styles: str) -> PromptSet:
    prompts = tuple(Prompt(f"prompt {number}", style=style) for number, style in enumerate(styles))
    return PromptSet(prompt_class, "here", prompts)


def test_a_search_leaves_out_prompts_in_pairs_where_there_are_others() -> None:
    calibration = {
        PromptClass.BENIGN: of_styles(PromptClass.BENIGN, "", ""),
        PromptClass.HARMFUL: of_styles(PromptClass.HARMFUL, "paired-short", "veiled", "paired-role", "question"),
        PromptClass.PSEUDO_HARMFUL: of_styles(PromptClass.PSEUDO_HARMFUL, "paired-short", "paired-role"),
    }
    rows = {PromptClass.BENIGN: range(2), PromptClass.HARMFUL: range(2, 6), PromptClass.PSEUDO_HARMFUL: range(6, 8)}
    found = {name: list(one) for name, one in single_rows(calibration, rows, 2).items()}
    assert found == {
        PromptClass.BENIGN: [0, 1],
        PromptClass.HARMFUL: [3, 5],
        PromptClass.PSEUDO_HARMFUL: [6, 7],  # there are no others
    }
    too_few = single_rows(calibration, rows, 3)
    assert list(too_few[PromptClass.HARMFUL]) == [2, 3, 4, 5]  # two are fewer than the rank
