"""Answers from a model behind servers that speak the OpenAI format, such as vLLM or ``transformers serve``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from prosafeprune.generation.backend import Answer, Decoding
from prosafeprune.generation.openai_client import PATIENCE, TIMEOUT, OpenAIClient, chat
from prosafeprune.generation.server_pool import Patience
from prosafeprune.generation.worker_threads import in_parallel
from prosafeprune.progress import Reporter, SilentReporter

CONCURRENCY = 8


class EndpointGenerator:
    """Answers prompts with a model behind one or more servers, many prompts at a time.

    A server writes the chat template itself. A prompt that is nothing but a user's words is all it gets from here.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str | None = None,
        *,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        patience: Patience = PATIENCE,
        reporter: Reporter | None = None,
    ) -> None:
        self.reporter = reporter or SilentReporter()
        self.client = OpenAIClient(urls, model, timeout=timeout, patience=patience, reporter=self.reporter)
        self.concurrency = concurrency

    def describe(self) -> dict[str, Any]:
        """Return the servers and the model, without credentials. Raises InputError as ``check`` does."""
        return {"backend": "endpoint", **self.client.describe()}

    def check(self) -> None:
        """See that the servers can be reached and know the model. Raises InputError when not."""
        self.client.check()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield each prompt's place and answer as it is done.

        An answer that the server's content filter withheld is empty unless the filter put words in its place.

        Raises:
            InputError: a server wants something else, or every attempt at a prompt failed. What was answered before
                has been yielded by then.
        """
        withheld = 0

        def ask(prompt: str) -> tuple[Answer, bool]:
            reply = self.client.ask(
                chat(prompt),
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                seed=_prompt_seed(decoding.seed, prompt),
            )
            return Answer(reply.text.strip(), reply.finished), reply.withheld

        for place, (answer, was_withheld) in in_parallel(prompts, ask, self.concurrency):
            withheld += was_withheld
            yield place, answer
        if withheld:
            self.reporter.warning(f"The server's content filter withheld {withheld} of {len(prompts)} answers.")


def _prompt_seed(seed: int, prompt: str) -> int:
    """Return the seed of one prompt's draws; it depends neither on the other prompts nor on their order."""
    digest = hashlib.sha256(f"{seed} {prompt}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4]) >> 1
