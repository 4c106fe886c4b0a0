"""Answers to prompts."""

from prosafeprune.generation.backend import Answer, Decoding, Generator, Timed, answer_all
from prosafeprune.generation.local import ChangedWhileAnswering, LocalGenerator

__all__ = ["Answer", "ChangedWhileAnswering", "Decoding", "Generator", "LocalGenerator", "Timed", "answer_all"]
