"""Methods by name, with their settings."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prosafeprune.baselines.abliteration import Abliteration, NormPreservingAbliteration
from prosafeprune.baselines.actor import Actor
from prosafeprune.baselines.low_rank import LowRankMethod
from prosafeprune.baselines.method import Method
from prosafeprune.baselines.null_space import NullSpace
from prosafeprune.baselines.prompting import Default, Prompting
from prosafeprune.baselines.prosafeprune import PromptedProSafePrune, ProSafePrune
from prosafeprune.baselines.safe_patching import SafePatching
from prosafeprune.baselines.scan import Scan
from prosafeprune.baselines.self_cd import SelfCd
from prosafeprune.baselines.self_training import SelfTraining
from prosafeprune.baselines.sft import Sft
from prosafeprune.baselines.surgical import Surgical
from prosafeprune.errors import InputError
from prosafeprune.requests.parsing import import_user_class, validate_settings
from prosafeprune.text import did_you_mean

NAME = re.compile(r"[a-z0-9][a-z0-9+-]*")
SEARCH_FOLDER = "search"
"""The folder in which a comparison keeps its search, next to the folders of the methods."""
METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        *(Default, Prompting, SelfCd, Scan, Surgical, ProSafePrune, PromptedProSafePrune),
        *(Sft, SelfTraining, Actor, SafePatching, NullSpace, Abliteration, NormPreservingAbliteration),
    )
}


SAVEABLE: dict[str, type[LowRankMethod]] = {
    name: kind for name, kind in METHODS.items() if issubclass(kind, LowRankMethod) and not kind.in_memory_only
}
"""The methods whose fit, a LoRA adapter, may become a model."""


def make_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return the method of that name, or of the class that ``module:Class`` names, with these settings.

    Raises:
        InputError: there is no such method, or a setting is unknown or out of range.
    """
    return validate_settings(find_method(name), dict(settings or {}), f"Method {name}")


def find_method(name: str) -> type[Method]:
    """Return a method's class. Raises InputError when there is none of that name."""
    if ":" not in name:
        if name not in METHODS:
            like = did_you_mean(name, METHODS)
            raise InputError(
                f"{name}: no such method.{like} There are {', '.join(METHODS)}; give your own as module:Class."
            )
        return METHODS[name]
    found = import_user_class(name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError(
            f"{name}: is not a subclass of prosafeprune.baselines.method.Method. Derive it from that class."
        )
    given = getattr(found, "name", None)
    if not isinstance(given, str) or not NAME.fullmatch(given) or given == SEARCH_FOLDER:
        raise InputError(
            f"{name}: its name, which is also that of its folder, may hold lower-case letters, digits, hyphens and "
            f"plus signs, and must not be '{SEARCH_FOLDER}' (its name: {given!r})."
        )
    return found


def read_settings(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return settings by method, of texts such as ``scan.threshold=0.7``. Raises InputError."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        method, dot, setting = place.rpartition(".")
        if not equals or not dot or not method:
            raise InputError(f"--settings {text}: write METHOD.SETTING=VALUE, such as scan.threshold=0.7.")
        found.setdefault(method, {})[setting] = value
    return found
