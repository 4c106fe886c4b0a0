"""Thoughts in every wrapping are no answer."""

from __future__ import annotations

import pytest

from prosafeprune.judge.reasoning_text import (
    MARKERS,
    ThoughtMarkers,
    ends_within_thought,
    markers_of_tokenizer,
    spoken_part,
)

REFUSAL = "I should refuse. I cannot help with that."


@pytest.mark.parametrize("marker", MARKERS, ids=lambda marker: marker.opening)
def test_every_wrapping_is_cut_out(marker: ThoughtMarkers) -> None:
    opening, closing = marker
    assert spoken_part(f"{opening} {REFUSAL} {closing} Run kill.") == "Run kill."
    assert spoken_part(f"{REFUSAL} {closing}\n\nRun kill.") == "Run kill."  # the template opened it in the prompt
    assert ends_within_thought(f"{opening} {REFUSAL}")
    assert not ends_within_thought(f"{opening} {REFUSAL} {closing} Run kill.")


@pytest.mark.parametrize(
    ("answer", "spoken"),
    [
        ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hello.", "Hello."),
        ("analysisThe user greets.assistantfinalHello.", "Hello."),
        ("<think>a</think><answer>Hello.</answer>", "Hello."),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Hello.<|END_RESPONSE|>", "Hello."),
        ("<think>a</think> Hello <think>b</think> again.", "Hello   again."),
        ("An analysis of <b>bold</b> text.", "An analysis of <b>bold</b> text."),
        ("Here are my thoughts: none.", "Here are my thoughts: none."),
    ],
)
def test_what_is_said(answer: str, spoken: str) -> None:
    assert spoken_part(answer) == spoken


def test_a_tokenizers_own_markers() -> None:
    class Tokenizer:
        def get_added_vocab(self) -> dict[str, int]:
            names = [
                "<deep_thought>",
                "</deep_thought>",
                "<|reason_start|>",
                "<|reason_end|>",
                "<think>",
                "</think>",
                "<x>",
            ]
            return {name: place for place, name in enumerate(names)}

    markers = markers_of_tokenizer(Tokenizer())
    assert markers == [("</deep_thought>".replace("/", ""), "</deep_thought>"), ("<|reason_start|>", "<|reason_end|>")]
    assert spoken_part("<deep_thought>a</deep_thought>Hello.", markers) == "Hello."
    assert ends_within_thought("<|reason_start|>a", markers)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<think>" * 50_000 + "x", ""),
        ("<think>" * 50_000 + "</think>" * 50_000 + "said", "said"),
        ("<thought>a" * 50_000 + "<think>" * 50_000 + "</thought>", ""),
        ("[THINK]" * 50_000, ""),
    ],
)
def test_many_markers_do_not_hang(answer: str, said: str) -> None:
    # Quadratic matching of these takes minutes.
    assert spoken_part(answer) == said
