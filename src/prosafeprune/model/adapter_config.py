"""What an adapter's config may make PEFT do: its regular expressions and sizes are checked before PEFT reads them."""

import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prosafeprune.errors import InputError

SECONDS = 20.0
"""Time limit for matching all patterns with all module names; a pattern that backtracks would take years."""
LARGEST_SCALE = 1e6
"""Maximum ``lora_alpha``: above those of all adapters; near the largest number, the weights would not be finite."""
ITERATIONS = re.compile(r"niter_?(\d+)")
"""SVD iterations of PEFT's PiSSA initialisation (typically 4 or 16)."""
DIGITS = 3
PLAIN = re.compile(r"[\w.-]*")
"""A name that is no regular expression, or one that matches at once."""
MATCH_ALL = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    # The forms in which PEFT 0.21 uses patterns.
    of_module, of_name = rf"(.*\\.)?({pattern})$", rf"(^|.*\\.){pattern}($|\\..*)"
    for whole in (pattern, of_module, of_name, rf"(?:^|.*?\\.){pattern}\\.(?P<idx>\\d+)\\."):
        try:
            compiled = re.compile(whole)
        except (re.error, RecursionError, OverflowError):
            sys.exit(3)
        for name in names:
            compiled.match(name)
            compiled.fullmatch(name)
"""


def require_usable(
    config: Mapping[str, Any], shapes: Sequence[Sequence[int]], modules: Iterable[str], parameters: Collection[str]
) -> None:
    """Raise InputError when an adapter's config would make PEFT search for ever, fill the memory or change nothing.

    Args:
        config: its adapter_config.json.
        shapes: of the tensors in its weights file.
        modules: names of the base model's modules.
        parameters: names of the base model's parameters.
    """
    largest = max((size for shape in shapes for size in shape), default=0)
    for rank in [config.get("r"), *_values(config.get("rank_pattern"))]:
        if not isinstance(rank, int) or not 1 <= rank <= largest:
            raise InputError(f"the rank {str(rank)[:40]} in its adapter_config.json does not fit its weights")
    for alpha in [config.get("lora_alpha"), *_values(config.get("alpha_pattern"))]:
        if not isinstance(alpha, int | float) or not 0 < abs(alpha) <= LARGEST_SCALE:
            raise InputError(f"the scale {str(alpha)[:40]} in its adapter_config.json is not a valid scale")
    targets = config.get("target_parameters") or []
    for target in targets if isinstance(targets, list) else [targets]:  # PEFT passes over those that match nothing
        if not any(parameter == target or parameter.endswith(f".{target}") for parameter in parameters):
            raise InputError(
                f"{str(target)[:80]!r}, a target parameter in its adapter_config.json, matches no parameter of the "
                "base model"
            )
    found = ITERATIONS.search(str(config.get("init_lora_weights")))
    if found and len(found[1]) > DIGITS:
        raise InputError(f"{found[0][:40]} in its adapter_config.json takes too long")
    patterns = [pattern for pattern in _patterns(config) if not PLAIN.fullmatch(pattern)]
    if patterns:
        _require_quick(patterns, list(modules))


def _require_quick(patterns: list[str], names: list[str]) -> None:
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-c", MATCH_ALL],
            input=json.dumps([patterns, names]).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError("a pattern in its adapter_config.json takes too long to match") from error
    if ended.returncode != 0:
        raise InputError("a pattern in its adapter_config.json is no regular expression")


def _patterns(config: Mapping[str, Any]) -> list[str]:
    """Return every text that PEFT uses as a regular expression, or as a part of one."""
    found: list[Any] = []
    for name in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern"):
        value = config.get(name)
        found += value if isinstance(value, list) else [value]
    for name in ("rank_pattern", "alpha_pattern"):
        value = config.get(name)
        found += value if isinstance(value, dict) else []
    return [target for target in found if isinstance(target, str)]


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
