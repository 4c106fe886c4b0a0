"""Odd values for every option of every command."""

from __future__ import annotations

import random
from functools import cache

NOT_TRIED = {"--help", "--debug", "--version", "--trust-remote-code", "--repeats", "--ability", "--suite"}
"""Those that only make the command long, or fetch what is not there."""
VALUES = (
    *("", " ", "-1", "0", "1.5", "nan", "inf", "-inf", "1e999", "9" * 5000, "true", "null", "None", "[]", "{}"),
    *("a\udcffb", "../x", "/dev/zero", "/dev/null", "/proc/self/mem", "/nowhere/at/all", "~nobody/x", "x" * 5000),
    *("[/bold]", "[bold red]", "\x1b]52;c;eA==\x07", "\u202edcba", "%s%n{0}", "0-1000000000000", "2-1", "1,,2", "0,0"),
    *("a=b", "=", "==", "xstest-safe=/dev/zero", "http://", "http://user:pw@[::1", "file:///etc/passwd", "ftp://x/y"),
    *("http://127.0.0.1:1/v1", "--", "*", "$(id)", "`id`", "'", '"', "\n", "a\nb", "\ud7ff\U0010ffff", "１２"),
)

MODES = (
    *(("--polish",), ("--draft",), ("--json",), ("--public",), ("--dequantise",), ("--only-mine",), ("--unmeasured",)),
    *(("--format", "adapter"), ("--format", "gguf"), ("--memory", "low"), ("--strength", "0.9,0.1"), ("--choose", "1")),
    *(("--push", "a/b"), ("--serve-with", "vllm"), ("--test-samples", "2"), ("--hold-out", "0.3"), ("--from", "x")),
    *(("--thinking", "on"), ("--floor", "estimate"), ("--projection", "contrastive"), ("--system", "Be brief.")),
)
"""Options of ``prune`` that change what a run does, of which two may contradict each other."""


def odd_option(command: str, draw: random.Random) -> tuple[str, str | None]:
    """Return an option of a command and an odd value; None for a switch."""
    names = _options(command)
    option = draw.choice(sorted(names))
    return option, draw.choice(VALUES) if names[option] else None


@cache
def _options(command: str) -> dict[str, bool]:
    """Return the options of a command, and whether each takes a value."""
    import typer

    from prosafeprune.cli.application import app

    group = typer.main.get_command(app)
    found = group.commands[command].params  # type: ignore[attr-defined]
    named = {max(option.opts, key=len): not getattr(option, "is_flag", False) for option in found}
    return {name: takes for name, takes in named.items() if name.startswith("--") and name not in NOT_TRIED}
