"""Fixtures of the tests of commands for prompts."""

from helpers.rated_prompts import prompts

__all__ = ["prompts"]
