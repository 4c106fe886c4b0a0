"""Judge models behind a server: many questions at a time; questions that cannot be asked get a verdict."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prosafeprune.generation.endpoint import in_parallel
from prosafeprune.generation.openai_client import OpenAIClient
from prosafeprune.generation.server_errors import PromptTooLong
from prosafeprune.judges.reasoning_text import spoken_part
from prosafeprune.judges.verdict import AnswerClass, Verdict


def ask_judge(
    client: OpenAIClient,
    questions: Sequence[Mapping[str, Any]],
    concurrency: int,
    *,
    max_tokens: int,
    thought_tokens: int | None = None,
    begins_with_verdict: Callable[[str], bool] = bool,
) -> Iterator[tuple[int, str | Verdict]]:
    """Yield each question's index with the model's reply, or with a verdict if there can be no reply.

    A reply cut off before its verdict, in a chain of thought or in reasons, is requested again with ``thought_tokens``
    tokens.

    Raises:
        InputError: the server cannot be reached, or rejects a request.
    """

    def ask(question: Mapping[str, Any]) -> str | Verdict:
        try:
            reply = client.ask(question, max_tokens=max_tokens)
            cut = not (reply.finished or reply.withheld or begins_with_verdict(spoken_part(reply.text)))
            if thought_tokens is not None and cut:
                reply = client.ask(question, max_tokens=thought_tokens)
        except PromptTooLong:
            return Verdict(AnswerClass.UNDETERMINED, "prompt and answer are too long for the judge")
        if reply.withheld:
            return Verdict(AnswerClass.UNDETERMINED, "the content filter of the judge's server withheld its reply")
        spoken = spoken_part(reply.text)
        if not reply.finished and spoken and not begins_with_verdict(spoken):
            return Verdict(AnswerClass.UNDETERMINED, "the judge's reply was cut off before its verdict")
        return reply.text

    return in_parallel(questions, ask, concurrency)
