"""Personal data masked in turns: in the request, its answer, and the conversation before it."""

from collections import Counter
from dataclasses import replace

from prosafeprune.traffic.personal_data import mask
from prosafeprune.traffic.turns import LoggedTurn


class Masking:
    """Masks turns one after the other. The turns of one conversation share their messages, which are masked once."""

    def __init__(self) -> None:
        self._before: dict[str, str] = {}
        """The masked text of each message of the last turn."""

    def of(self, turn: LoggedTurn) -> tuple[LoggedTurn, Counter[str]]:
        """Return a turn with its personal data masked, and how many items of each kind its request and answer have."""
        earlier = {text: self._before.get(text) or mask(text)[0] for _, text in turn.messages[:-1]}
        (prompt, in_prompt), (answer, in_answer) = mask(turn.prompt), mask(turn.answer)
        self._before = {**earlier, turn.prompt: prompt, turn.answer: answer}
        last = (turn.messages[-1][0], prompt)
        messages = (*((role, earlier[text]) for role, text in turn.messages[:-1]), last)
        return replace(turn, messages=messages, answer=answer), in_prompt + in_answer
