"""Thoughts in every wrapping are no answer."""

from __future__ import annotations

import pytest

from prosafeprune.judges.reasoning_text import ends_within_thought, spoken_part
from prosafeprune.prompts.thought_markers import MARKERS, ThoughtMarkers

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
        ("<analysis>It asks for bread. I must not refuse.</analysis>\nPreheat the oven.", "Preheat the oven."),
        ("<scratchpad>I cannot assist.</scratchpad>Preheat the oven.", "Preheat the oven."),
        ("<think>a</think> Hello <think>b</think> again.", "Hello   again."),
        ("An analysis of <b>bold</b> text.", "An analysis of <b>bold</b> text."),
        ("Here are my thoughts: none.", "Here are my thoughts: none."),
        ("Okay, the user wants a story.\nIs it safe? Yes.\n\nOnce upon a time.", "Once upon a time."),
        ("We need to refuse.\n\nI can't help with that.", "I can't help with that."),
        ("Okay, the user wants a story.", "Okay, the user wants a story."),
        (
            "The user guide is on page 4.\n\nThe index is on page 9.",
            "The user guide is on page 4.\n\nThe index is on page 9.",
        ),
    ],
)
def test_what_is_said(answer: str, spoken: str) -> None:
    assert spoken_part(answer) == spoken
