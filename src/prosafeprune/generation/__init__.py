"""Answers to prompts."""

from prosafeprune.generation.backend import Answer, Decoding, Generator, TimedGenerator, answer_all
from prosafeprune.generation.local import EditedGenerator, LocalGenerator

__all__ = ["Answer", "Decoding", "EditedGenerator", "Generator", "LocalGenerator", "TimedGenerator", "answer_all"]
