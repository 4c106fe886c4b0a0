"""Answers from servers that speak the OpenAI format, such as vLLM or ``transformers serve``, asked in parallel."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar

from prosafeprune.generation.backend import Answer, Decoding
from prosafeprune.generation.openai_client import RETRIES, TIMEOUT, OpenAIClient, chat
from prosafeprune.generation.server_errors import PromptTooLong
from prosafeprune.progress import SILENT, Reporter
from prosafeprune.prompts.conversation import transcript
from prosafeprune.text import beginning

CONCURRENCY = 8
SHOWN_CHARACTERS = 80
"""Maximum characters shown of a prompt that is too long."""
Item = TypeVar("Item")
Result = TypeVar("Result")


class EndpointGenerator:
    """Answers prompts with a model behind one or more servers, many prompts at a time.

    The server applies the chat template; it gets the prompt's turns, after a system prompt if there is one.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str | None = None,
        *,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        extra: Mapping[str, Any] | None = None,
        system: str | None = None,
        reporter: Reporter = SILENT,
    ) -> None:
        """Take the servers, as :class:`OpenAIClient` does, the number of concurrent requests, and a system prompt."""
        self.reporter = reporter
        self.client = OpenAIClient(urls, model, timeout=timeout, retries=retries, extra=extra, reporter=self.reporter)
        self.concurrency = concurrency
        self.system = system

    def describe(self) -> dict[str, Any]:
        """Return the servers and the model, without credentials. Raises InputError as ``check`` does."""
        return {"backend": "endpoint", **self.client.describe()}

    def check(self) -> None:
        """Check that the servers can be reached and know the model. Raises InputError when not."""
        self.client.check()

    def answer(self, prompts: Sequence[str], decoding: Decoding) -> Iterator[tuple[int, Answer]]:
        """Yield the index of each prompt with its answer as it is done.

        An answer withheld by the server's content filter is empty, unless the filter put words in its place.

        Raises:
            InputError: a server rejects a request, or every retry failed. Finished answers are yielded before.
        """
        withheld = 0

        def ask(prompt: str) -> tuple[Answer, bool]:
            try:
                completion = self.client.ask(
                    chat(prompt, self.system),
                    max_tokens=decoding.max_new_tokens,
                    temperature=decoding.temperature,
                    seed=_prompt_seed(decoding.seed, prompt),
                )
            except PromptTooLong as error:
                shown = beginning(" ".join(transcript(prompt).split()), SHOWN_CHARACTERS)
                raise PromptTooLong(f"{error} The prompt: {shown!r}") from None
            return Answer(completion.text.strip(), completion.finished), completion.withheld

        for index, (answer, was_withheld) in in_parallel(prompts, ask, self.concurrency):
            withheld += was_withheld
            yield index, answer
        if withheld:
            self.reporter.warning(f"The server's content filter withheld {withheld} of {len(prompts)} answers.")


def _prompt_seed(seed: int, prompt: str) -> int:
    """Return the seed for sampling one prompt's answer; it does not depend on the other prompts or their order."""
    digest = hashlib.sha256(f"{seed} {prompt}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4]) >> 1


def in_parallel(
    items: Sequence[Item], work: Callable[[Item], Result], concurrency: int
) -> Iterator[tuple[int, Result]]:
    """Yield each item's index and result as it is done, with at most ``concurrency`` items in progress.

    When an item fails, no other is started; those in progress are completed and yielded, then the error is raised.
    ``ThreadPool`` rather than ``ThreadPoolExecutor``: its threads are daemons, so that an interrupted program ends at
    once instead of waiting for requests in progress.
    """
    failures: list[Exception] = []

    def run(index: int) -> tuple[int, Result] | None:
        if failures:
            return None
        try:
            return index, work(items[index])
        except Exception as error:  # noqa: BLE001 - raised below, in the calling thread
            failures.append(error)
            return None

    if not items:
        return
    with ThreadPool(min(concurrency, len(items))) as pool:
        yield from filter(None, pool.imap_unordered(run, range(len(items))))
    if failures:
        raise failures[0]
