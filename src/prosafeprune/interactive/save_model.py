"""Saving what the playground shows: the command that makes it runs beside the server, with its safety gate."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from prosafeprune.errors import InputError
from prosafeprune.jobs.served_model import PRUNED, ServedModel
from prosafeprune.model.loading import LoadedModel
from prosafeprune.model.source import is_adapter_folder
from prosafeprune.report.record import read_record
from prosafeprune.report.result_view import change_in_words
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.serving.corrections import Applied
from prosafeprune.setup.machine import free_memory
from prosafeprune.text import for_terminal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SHOWN_LINES = 60
USER_PROMPTS = ("harmful", "benign", "pseudo_harmful", "earlier")
DRAWN = ("samples", "seed")
"""What decides which of the bundled calibration prompts are used."""
ENDPOINT = "--judge-endpoint="
OUTCOMES = {
    0: "Saved in {folder}{rates}.",
    3: "Not saved: it does not keep the safety floor. The report is next to the folder: {name}-not-saved.html.",
}


def reason_not_saved(served: ServedModel, request: PlaygroundRequest, name: str) -> str | None:
    """Return why the command cannot make an edit again, such as prompts that are not available; None if it can."""
    if name != PRUNED and served.search is not None and served.search.made_by.get("thinking") == "both":
        return "This plan's search was made with --thinking both. Run prune --search FOLDER --choose N --thinking both."
    if name != PRUNED or served.pruned is None or served.record is None or is_adapter_folder(served.pruned):
        return None
    recipe, polish = served.record.recipe, served.record.polish
    if any(getattr(recipe, option) for option in USER_PROMPTS) or recipe.calibration != "bundled":
        return (
            "This model was calibrated with prompts of your own, or with --calibration. Save it with prune and these "
            "options."
        )
    if polish is not None and polish.kept:
        return "This model was trained after pruning, which is not done again at another strength. Prune with --polish."
    if (recipe.system, recipe.thinking) != (request.system, request.thinking):
        return "This model was pruned with another --system or --thinking. Start the playground with the same."
    return "A GGUF is pruned on the command line: give prune the file." if served.source.is_gguf else None


def command(served: ServedModel, request: PlaygroundRequest, applied: Applied, output: Path) -> list[str]:
    """Return the arguments of the command that makes the model of an edit at some strengths."""
    edit, plan = applied.edit, applied.edit.plan
    strengths = ",".join(f"{applied.strengths.get(layer, 0.0):g}" for layer in plan.layers)
    common = [f"--strength={strengths}", f"--output={output}", *_options(request)]
    if edit.name == PRUNED and served.pruned is not None and is_adapter_folder(served.pruned):
        return ["apply", str(served.pruned), request.model, *common]
    options = {
        "layers": plan.layers_in_words,
        "rank": plan.rank,
        "pooling": plan.pooling.value,
        "projection": plan.projection.value,
        "harmful-share": plan.harmful_share,
    }
    drawn_by = served.search if edit.name != PRUNED else served.record.recipe if served.record is not None else None
    if drawn_by is not None:
        options |= {name: getattr(drawn_by, name) for name in DRAWN}
    return ["prune", request.model, *_words(options), *common]


def require_room(loaded: LoadedModel, arguments: Sequence[str]) -> None:
    """Raise InputError when the command's copy of the weights does not fit next to the one that answers.

    On a CPU both map the same file, if the model runs in the dtype that it is stored in.
    """
    sizes: Counter[torch.device] = Counter()
    for weight in loaded.model.parameters():
        if weight.device.type != "cpu" or loaded.run_dtype != loaded.stored_dtype:
            sizes[weight.device] += weight.numel() * weight.element_size()
    for device, needed in sizes.items():
        free = free_memory(device)
        if needed > free:
            raise InputError(
                f"Saving takes a second copy of the weights: {needed / 1e9:.1f} GB on {device}, which has "
                f"{free / 1e9:.1f} GB free. Stop the playground, and run: {_shown(arguments)}"
            )


class ModelSaver:
    """Runs one such command at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=SHOWN_LINES)
        self._command = ""
        self._folder = Path()

    def start(self, arguments: Sequence[str], folder: Path) -> None:
        """Start the command. Raises InputError when one is running."""
        if self._process is not None and self._process.poll() is None:
            raise InputError("A model is being saved. Wait until it is done.")
        self._lines.clear()
        self._command, self._folder = _shown(arguments), folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "prosafeprune", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # its tables show test prompts, harmful ones included
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "COLUMNS": "100"},
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    @property
    def status(self) -> dict[str, Any]:
        """The progress of the command, and how it ended."""
        code = self._process.poll() if self._process is not None else None
        running = self._process is not None and code is None
        outcome = "Measuring ..." if running else ""
        if code is not None:
            outcome = OUTCOMES.get(code, "Not saved: see the last line.").format(
                folder=self._folder, name=self._folder.name, rates=_rates_of(self._folder)
            )
        return {"running": running, "command": self._command, "lines": list(self._lines), "outcome": outcome}

    def close(self) -> None:
        """End the command, which then writes nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._lines.append(for_terminal(line.rstrip("\n")))


def output_folder(name: str) -> Path:
    """Return the folder of a saved model, in the current one. Raises InputError for an unusable name."""
    folder = Path.cwd() / name
    if not NAME.fullmatch(name):
        raise InputError("Name the folder with letters, digits, dots, hyphens and underscores.")
    if folder.exists():
        raise InputError(f"{name}: exists in the folder that the playground was started in. Choose another name.")
    return folder


def _shown(arguments: Sequence[str]) -> str:
    # An endpoint may hold a password.
    kept = [f"{ENDPOINT}..." if argument.startswith(ENDPOINT) else argument for argument in arguments]
    return f"prosafeprune {shlex.join(kept)}"


def _rates_of(folder: Path) -> str:
    with suppress(InputError):
        record = read_record(folder)
        return f": {change_in_words(record.source, record.result)}"
    return ""


def _options(request: PlaygroundRequest) -> list[str]:
    fields = type(request).model_fields
    given = {
        name.replace("_", "-"): value
        for name, value in request.model_dump().items()
        if name not in ("model", "batch_size") and value != fields[name].default
    }
    return _words(given)


def _words(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            words.append(f"--{name}={value}")
    return words
