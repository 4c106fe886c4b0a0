"""The text log of a server: requests and their answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from prosafeprune.traffic.log_files import read_turns
from prosafeprune.traffic.turns import LoggedTurn, turns_of

ASKED = "How do I kill a process?"
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHow do I kill a process?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def test_an_answer_in_several_parts_is_one(tmp_path: Path) -> None:
    """Around a call of a tool, the refusal may come last."""
    said = [("user", "A?"), ("assistant", "I look it up."), ("assistant", "I can't help."), ("user", "B?")]
    answer = "I look it up.\n\nI can't help."
    assert list(turns_of(said)) == [((("user", "A?"),), answer)]
    assert list(turns_of([*said, ("assistant", "b")]))[1] == (
        (("user", "A?"), ("assistant", answer), ("user", "B?")),
        "b",
    )


@pytest.mark.parametrize(
    "request_line",
    [
        "INFO 07-01 12:00:00 [logger.py:42] Received request chatcmpl-1: prompt: {}, params: SamplingParams(n=1), "
        "prompt_token_ids: [1, 2].",
        "DEBUG 07-01 12:00:00 [logger.py:42] Request chatcmpl-1 details: prompt: {}, prompt_token_ids: None.",
    ],
)
def test_the_text_log_of_a_server(request_line: str, tmp_path: Path) -> None:
    path = tmp_path / "vllm.log"
    answer = 'It\'s "no".\nSorry.'
    lines = [
        "INFO 07-01 12:00:00 Started server process",
        request_line.format(repr(CHATML)),
        request_line.format(repr("plain text")).replace("chatcmpl-1", "chatcmpl-2"),
        request_line.format(repr("<|im_start|>system\nBe brief.<|im_end|>\n")).replace("chatcmpl-1", "chatcmpl-3"),
        f"INFO Generated response chatcmpl-1 (streaming delta): output: {'It'!r}, output_token_ids: None",
        "INFO 127.0.0.1 - POST /v1/chat/completions 200 OK",
        f"INFO Generated response chatcmpl-9: output: {answer!r}, output_token_ids: None, finish_reason: stop",
        f"INFO Generated response chatcmpl-1 (streaming complete): output: {answer!r}, output_token_ids: [1]",
        f"INFO Generated response chatcmpl-2: output: {answer!r}, finish_reason: stop",
        f"INFO Generated response chatcmpl-3: output: {answer!r}, finish_reason: stop",
        request_line.format(None).replace("chatcmpl-1", "chatcmpl-4"),
        f"INFO Generated response chatcmpl-4: output: {answer!r}, finish_reason: stop",
    ]
    path.write_text("\n".join(lines))
    found = list(read_turns(path, "prompt", "completion"))
    assert found[0] == LoggedTurn((("system", "Be brief."), ("user", ASKED)), answer, "vllm.log", 8)
    assert found[1:] == [
        (9, "the text of the request follows no chat template that is known"),
        (10, "the request does not end with a user turn"),
        (12, "the log has the numbers of the request's tokens, not its text"),
    ]
