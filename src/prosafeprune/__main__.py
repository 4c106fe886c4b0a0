"""``python -m prosafeprune`` is the command line."""

from prosafeprune.cli import program

program()
