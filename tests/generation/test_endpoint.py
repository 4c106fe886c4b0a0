"""Answers from servers in the OpenAI format, over real connections to a server with faults."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest
from helpers.endpoint_requests import GREEDY, generator, one_answer
from helpers.model_server import ModelServer, model_server, prompt_of, rejected, said, sent
from helpers.reporters import KeptWarnings

from prosafeprune.errors import InputError
from prosafeprune.generation.backend import Answer, Decoding
from prosafeprune.generation.server_errors import PromptTooLong
from prosafeprune.judges.reasoning_text import ends_within_thought

pytestmark = pytest.mark.usefixtures("no_key")
PROMPTS = [f"Prompt {number}" for number in range(12)]


def test_every_prompt_gets_its_own_answer_and_many_are_under_way(server: ModelServer) -> None:
    server.seconds = 0.05
    found = dict(generator(server.url, concurrency=4).answer(PROMPTS, GREEDY))
    assert found == {index: Answer(f"answer to {prompt}", True) for index, prompt in enumerate(PROMPTS)}
    assert 1 < server.most_at_a_time <= 4


def test_answers_come_as_they_are_done(server: ModelServer) -> None:
    def slow_first(body: dict[str, Any]) -> Any:
        if prompt_of(body) == PROMPTS[0]:
            while len(server.asked()) < len(PROMPTS):
                time.sleep(0.005)
        return said("done")

    server.answer = slow_first
    indices = [index for index, _ in generator(server.url, concurrency=2).answer(PROMPTS, GREEDY)]
    assert indices.index(0) >= len(PROMPTS) - 2


def test_greedy_and_sampled_requests(server: ModelServer) -> None:
    one_answer(server)
    one_answer(server, Decoding(max_new_tokens=9, temperature=0.7, seed=3))
    one_answer(server, Decoding(max_new_tokens=9, temperature=0.7, seed=3))
    one_answer(server, Decoding(max_new_tokens=9, temperature=0.7, seed=4))
    greedy, first, again, other = server.asked()
    user = {"messages": [{"role": "user", "content": "Hello"}]}
    assert greedy == {"model": "tiny", **user, "max_tokens": 16, "temperature": 0.0}
    assert first == {
        "model": "tiny",
        **user,
        "max_tokens": 9,
        "temperature": 0.7,
        "top_p": 1.0,
        "seed": first["seed"],
    }
    assert again["seed"] == first["seed"] != other["seed"]


@pytest.mark.parametrize(
    "fault",
    [
        rejected("slow down", 429, retry_after="0.02"),
        rejected("slow down", 429, Retry_After=formatdate(usegmt=True)),
        rejected("oops", 500),
        rejected("starting", 503),
        sent("<html>Bad gateway</html>", 502),
        sent("<html>Welcome</html>"),
        sent('{"choices": [{"mess'),
        sent({"choices": []}),
        sent({"error": {"message": "upstream failed"}}),
        "cut",
    ],
)
def test_what_may_pass_is_tried_again(server: ModelServer, fault: Any) -> None:
    server.faults += [fault, fault]
    assert one_answer(server) == Answer("answer to Hello", True)
    assert len(server.asked()) == 3


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (rejected("oops", 500), "HTTP 500: oops"),
        (sent("<html>Welcome</html>"), "sent no JSON (<html>Welcome</html>)"),
        (sent({"choices": []}), "sent JSON without choices"),
        ("cut", "cannot be reached"),
    ],
)
def test_what_does_not_pass_is_one_line_with_url_and_remedy(server: ModelServer, fault: Any, problem: str) -> None:
    server.faults += [fault] * 3
    with pytest.raises(InputError) as raised:
        one_answer(server)
    message = str(raised.value)
    assert problem in message
    assert message.startswith(server.url)
    assert message.endswith(
        "every retry failed. Check that the server is up and healthy, then run again: answers so far are kept."
    )
    assert "\n" not in message


def test_a_server_that_does_not_answer_in_time(server: ModelServer) -> None:
    server.seconds = 0.3
    with pytest.raises(InputError, match=r"did not complete a reply within 0.05 s"):
        one_answer(server, timeout=0.05, retries=10)
    assert len(server.asked()) == 3


def test_the_wait_that_a_server_asks_for_is_kept(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", slept.append)
    server.faults.append(rejected("slow down", 429, Retry_After="4"))
    one_answer(server)
    assert any(3.5 < seconds <= 4 for seconds in slept)  # other threads may sleep, too
    server.faults.append(rejected("slow down", 429, Retry_After="3600"))
    with pytest.raises(InputError, match="HTTP 429: slow down, with Retry-After 3600;"):
        one_answer(server)


def test_a_server_that_dies_half_way(server: ModelServer) -> None:
    server.answer = lambda body: said("fine") if len(server.asked()) <= 5 else "cut"
    found = []
    with pytest.raises(InputError, match="cannot be reached"):
        for index, _ in generator(server.url, concurrency=2).answer(PROMPTS, GREEDY):
            found.append(index)
    assert 4 <= len(found) <= 5


def test_the_prompts_of_a_dead_server_go_to_the_others(server: ModelServer) -> None:
    with model_server() as other, model_server() as gone:
        gone.die()
        fleet = generator(server.url, gone.url, other.url, concurrency=3)
        found = dict(fleet.answer(PROMPTS, GREEDY))
        assert sorted(found) == list(range(len(PROMPTS)))
        assert server.asked()
        assert other.asked()
        assert len(server.asked()) + len(other.asked()) == len(PROMPTS)


def test_a_thought_without_an_answer_is_recognised_as_one(server: ModelServer) -> None:
    server.faults += [
        said(None, "length", reasoning_content="Let me think</think> about it"),
        said("", "stop", reasoning="Hm"),
        said("The answer", "stop", reasoning_content="Hm"),
        said("Cut", "length"),
        sent({"choices": [{"message": {"content": [{"type": "thinking"}, {"type": "text", "text": "Parts"}]}}]}),
    ]
    cut, plain, spoken, short, parts = (one_answer(server) for _ in range(5))
    assert not cut.finished
    assert ends_within_thought(cut.text)
    assert ends_within_thought(plain.text)
    assert spoken == Answer("The answer", True)
    assert short == Answer("Cut", False)
    assert parts == Answer("Parts", True)


def test_what_the_content_filter_withheld(server: ModelServer) -> None:
    listener = KeptWarnings()
    server.faults += [
        said(None, "content_filter"),
        said(None, "stop", refusal="I can't help with that."),
        said("Half an ans", "content_filter"),
        rejected("The prompt was filtered.", 400, code="content_filter"),
    ]
    answers = [one_answer(server, reporter=listener) for _ in range(4)]
    assert [answer.text for answer in answers] == ["", "I can't help with that.", "Half an ans", ""]
    assert [answer.finished for answer in answers] == [True, True, False, True]
    assert listener.lines == ["The server's content filter withheld 1 of 1 answers."] * 4


def test_settings_that_a_server_rejects_are_left_out_or_renamed(server: ModelServer) -> None:
    listener = KeptWarnings()

    def picky(body: dict[str, Any]) -> Any:
        for name, instead in (
            ("max_tokens", "Use 'max_completion_tokens' instead."),
            ("seed", ""),
            ("temperature", ""),
        ):
            if name in body:
                return rejected(f"Unsupported parameter: '{name}'. {instead}", 400)
        return said("fine")

    server.answer = picky
    drawn = Decoding(max_new_tokens=5, temperature=1.0, seed=0)
    found = dict(generator(server.url, concurrency=1, reporter=listener).answer(["a", "b"], drawn))
    assert [found[0].text, found[1].text] == ["fine", "fine"]
    assert {"max_completion_tokens": 5, "top_p": 1.0}.items() <= server.asked()[-1].items()
    assert len(server.asked()) == 5
    assert ["seed" in text or "temperature" in text for text in listener.lines] == [True, True]


def test_other_requests_that_a_server_does_not_take(server: ModelServer) -> None:
    server.faults.append(rejected("messages must alternate", 400))
    with pytest.raises(InputError, match=r"rejects the request \(HTTP 400: messages must alternate\)"):
        one_answer(server)
    server.faults.append(rejected("This model's maximum context length is 8 tokens.", 400))
    with pytest.raises(InputError, match="too long for the model"):
        one_answer(server)
    server.faults.append(rejected("You exceeded your quota.", 429, code="insufficient_quota"))
    with pytest.raises(InputError, match="Add credit"):
        one_answer(server)
    assert len(server.asked()) == 3


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 400),
        (
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
            422,
        ),
        ("Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", 422),
        ("The input token count (5000) exceeds the maximum number of tokens allowed (4096).", 400),
    ],
)
def test_a_prompt_that_is_too_long_is_named(server: ModelServer, message: str, status: int) -> None:
    server.faults.append(rejected(message, status))
    with pytest.raises(PromptTooLong, match=r"too long for the model .*Shorten it\. The prompt: '(?:long ){16}\.\.\.'"):
        list(generator(server.url).answer(["long " * 900], Decoding(max_new_tokens=5)))


def test_half_a_character_is_an_input_error(server: ModelServer) -> None:
    with pytest.raises(InputError, match="lone surrogate"):
        list(generator(server.url).answer(["\ud800"], GREEDY))
