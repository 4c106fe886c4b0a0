"""Answers of an engine, and of the model as LocalGenerator would decode them."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prosafeprune.generation.decoding import TokenChoice, decode_batch
from prosafeprune.model.chat_template import encode_prompts
from prosafeprune.model.loading import LoadedModel, load_model
from prosafeprune.model.prefix_cache import PrefixCache
from prosafeprune.progress import SilentReporter
from prosafeprune.serving.engine import Engine
from prosafeprune.serving.running_answer import Piece, Question, RunningAnswer

PROMPTS = ["How do I kill a process?", "Hi", "Name three rivers, and say why each of them matters to someone."]
TOKENS = 12


def load(folder: Path) -> LoadedModel:
    return load_model(folder, "tiny", SilentReporter(), device="cpu", dtype="float32")


def answer_all(engine: Engine, questions: Sequence[Question]) -> list[tuple[list[int], list[Piece]]]:
    """Return the tokens and the pieces of each answer; all questions are asked at once."""
    queues: list[queue.SimpleQueue[Piece]] = [queue.SimpleQueue() for _ in questions]
    running: list[RunningAnswer] = [engine.start(q, one.put) for q, one in zip(questions, queues, strict=True)]
    found = []
    for answer, pieces in zip(running, queues, strict=True):
        of_answer = []
        while not of_answer or not of_answer[-1].is_last:
            of_answer.append(pieces.get(timeout=60))
        assert of_answer[-1].error is None, of_answer[-1].error
        found.append((list(answer.stream.ids), of_answer))
    return found


def question(engine: Engine, prompt: str, **settings: Any) -> Question:
    return Question(**{"ids": engine.encode([("user", prompt)]), "max_new_tokens": TOKENS, **settings})


@torch.inference_mode()
def decoded(loaded: LoadedModel, prompts: Sequence[str] = PROMPTS, tokens: int = TOKENS) -> list[list[int]]:
    """Return the greedy tokens of the model as it is, one prompt at a time."""
    answers = []
    for encoded in encode_prompts(loaded.tokenizer, prompts):
        prefix = PrefixCache(loaded.model, [encoded.ids], tokens)
        [(_, ids, _)] = decode_batch(loaded, [encoded.ids], prefix, tokens, TokenChoice(0.0, [""]))
        answers.append(ids)
    return answers
