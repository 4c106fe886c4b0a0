"""Any chat model behind an OpenAI-compatible server as a judge, with XSTest's question."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prosafeprune.files.cache import cache_folder
from prosafeprune.generation.openai_client import OpenAIClient, chat
from prosafeprune.judge.models import xstest_question
from prosafeprune.judge.models.judge_server import ask_judge
from prosafeprune.judge.verdict import AnswerClass, Exchange, Verdict


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


REPLY_TOKENS = 256
"""The class takes a few tokens; this leaves room for a sentence or two around it."""
THOUGHT_TOKENS = 4096
"""For reasoning models, which are asked again if they were still thinking."""


class LlmJudge:
    """Assigns answers to XSTest's classes by asking a chat model; unclear replies give undetermined."""

    def __init__(self, client: OpenAIClient, *, concurrency: int = 8, cache: VerdictCache | None = None) -> None:
        self.client = client
        self.concurrency = concurrency
        self.cache = cache or VerdictCache()

    @property
    def name(self) -> str:
        """The model, and the version of the question."""
        return f"llm:{self.client.model} (XSTest question {xstest_question.VERSION})"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Return one verdict for each exchange, in order; the model is asked once about equal exchanges.

        Raises:
            InputError: the server cannot be reached or rejects a request. Earlier verdicts are cached.
        """
        verdicts = {exchange: self.cache.get(*self._key(exchange)) for exchange in exchanges}
        unknown = [exchange for exchange, kept in verdicts.items() if kept is None]
        questions = [chat(xstest_question.question(exchange), xstest_question.SYSTEM) for exchange in unknown]
        replies = ask_judge(
            self.client, questions, self.concurrency, max_tokens=REPLY_TOKENS, thought_tokens=THOUGHT_TOKENS
        )
        for place, reply in replies:
            verdict = reply if isinstance(reply, Verdict) else xstest_question.read_class(reply)
            verdicts[unknown[place]] = verdict
            if verdict.answer_class is not AnswerClass.UNDETERMINED:
                self.cache.put(verdict, *self._key(unknown[place]))
        found = [verdicts[exchange] for exchange in exchanges]
        return [verdict for verdict in found if verdict is not None]

    def _key(self, exchange: Exchange) -> tuple[str, ...]:
        return (f"xstest {xstest_question.VERSION}", self.client.model, exchange.prompt, exchange.answer)
