"""Verdicts of judge models, cached by content: each judge gets the same question only once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from prosafeprune.files.cache import cache_folder
from prosafeprune.judge.verdict import AnswerClass, Verdict


class VerdictCache:
    """A folder with one small JSON file per verdict; it holds neither prompts nor answers."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder() / "verdicts"

    def get(self, *asked: str) -> Verdict | None:
        """Return the cached verdict on a question, or None; a damaged file counts as none."""
        file = self._file(asked)
        try:
            if not file.is_file():
                return None
            found = json.loads(file.read_text(encoding="utf-8"))
            return Verdict(AnswerClass(found["class"]), str(found["reason"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def put(self, verdict: Verdict, *asked: str) -> None:
        """Cache a verdict. If the disk is full or read-only, the next run asks again."""
        file = self._file(asked)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".partial-")
        except OSError:
            return
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"class": verdict.answer_class.value, "reason": verdict.reason}, stream)
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)

    def _file(self, asked: tuple[str, ...]) -> Path:
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"
