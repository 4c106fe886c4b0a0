"""Asking a server of `model_server.py`, with few retries."""

from __future__ import annotations

from typing import Any

from helpers.model_server import RETRIES, ModelServer
from prosafeprune.generation.backend import Answer, Decoding
from prosafeprune.generation.endpoint import EndpointGenerator

GREEDY = Decoding(max_new_tokens=16, temperature=0.0, seed=0)


def generator(*urls: str, **settings: Any) -> EndpointGenerator:
    return EndpointGenerator(list(urls), "tiny", **{"retries": RETRIES, "timeout": 5.0, **settings})


def one_answer(server: ModelServer, decoding: Decoding = GREEDY, **settings: Any) -> Answer:
    ((place, answer),) = generator(server.url, **settings).answer(["Hello"], decoding)
    assert place == 0
    return answer
