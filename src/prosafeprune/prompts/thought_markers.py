"""The markers of chains of thought: one table, for the decoding of answers and for reading them."""

import re
from typing import NamedTuple


class ThoughtMarkers(NamedTuple):
    """The markers around a chain of thought."""

    opening: str
    closing: str


MARKERS = (
    ThoughtMarkers("<think>", "</think>"),  # DeepSeek-R1, Qwen3, GLM, Nemotron and most others
    ThoughtMarkers("<thinking>", "</thinking>"),
    ThoughtMarkers("<thought>", "</thought>"),  # EXAONE Deep
    ThoughtMarkers("<thoughts>", "</thoughts>"),
    ThoughtMarkers("<reasoning>", "</reasoning>"),
    ThoughtMarkers("<reflection>", "</reflection>"),  # Reflection
    ThoughtMarkers("<analysis>", "</analysis>"),  # these four by instructions in system prompts
    ThoughtMarkers("<scratchpad>", "</scratchpad>"),
    ThoughtMarkers("<inner_monologue>", "</inner_monologue>"),
    ThoughtMarkers("<deliberation>", "</deliberation>"),
    ThoughtMarkers("[THINK]", "[/THINK]"),  # Magistral
    ThoughtMarkers("<seed:think>", "</seed:think>"),  # Seed-OSS
    ThoughtMarkers("<mm:think>", "</mm:think>"),
    ThoughtMarkers("\u25c1think\u25b7", "\u25c1/think\u25b7"),  # Kimi
    ThoughtMarkers("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ThoughtMarkers("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ThoughtMarkers("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ThoughtMarkers("<|channel>thought", "<channel|>"),  # Gemma
    ThoughtMarkers("<unused94>thought", "<unused95>"),  # MedGemma
    ThoughtMarkers("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    ThoughtMarkers("<|channel|>commentary<|message|>", "<|channel|>final<|message|>"),
    ThoughtMarkers("Here is my thought process:", "Here is my response:"),  # Granite 3.2
    ThoughtMarkers("Here's my thought process:", "Here's my response:"),
)
"""Known markers, as they stand in an answer."""
PLAIN_CHANNELS = re.compile(r"^analysis(?=[A-Z]).*?assistantfinal", re.S)
"""gpt-oss's channels after the special tokens were stripped."""
OPEN_PLAIN_CHANNEL = re.compile(r"^analysis(?=[A-Z])(?!.*assistantfinal)", re.S)

# Markers that a tokenizer declares (generation/thought_tokens.py): those that name a thought become ``<think>``.

OPENING, CLOSING = MARKERS[0]
NAMES_THOUGHT = re.compile(r"think|thought|reason|scratchpad|monologue|deliberat", re.I)
PAIRS = (("/", ""), ("end_of", "begin_of"), ("END", "START"), ("end", "start"), ("end", "begin"), ("close", "open"))
"""Parts of closing markers, each with what the opening marker has instead."""
NAMELESS = re.compile(r"<\|?channel\|?>|<\|message\|>|<\|inner_(?:prefix|suffix)\|>|<unused9[45]>")
"""Tokens of gpt-oss, Gemma, Apertus and MedGemma, which do not name a thought; they are kept as they are."""
