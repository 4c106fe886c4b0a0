"""The server of ``serve``: ``/v1/models`` and ``/v1/chat/completions``; a model's name may give its strength."""

import asyncio
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosafeprune.interactive.async_answers import AsyncAnswer, EventStream, cancelled_on_disconnect
from prosafeprune.interactive.guard import read_json
from prosafeprune.interactive.http_errors import HttpError, as_http_error
from prosafeprune.interactive.openai_format import DEFAULT_TOKENS, ChatRequest, Reply, as_event, read_chat_request
from prosafeprune.jobs.served_model import ServedModel
from prosafeprune.serving.running_answer import Piece, Question


def openai_app(served: ServedModel) -> Starlette:
    """Return the server of a model, without a :class:`Guard`."""
    api = _Api(served)
    return web_app(
        Route("/v1/models", api.models),
        Route("/v1/models/{name:path}", api.model),
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
    )


def web_app(*routes: Route) -> Starlette:
    """Return a server that reports every error in the API's form."""

    def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return HttpError(
            HTTPStatus(error.status_code), f"{request.method} {request.url.path[:80]}: {error.detail}."
        ).response()

    def failed(request: Request, error: Exception) -> Response:
        return as_http_error(error).response()

    # As middleware: a handler of the application would be followed by a traceback on the terminal.
    reporting = Middleware(ExceptionMiddleware, handlers={Exception: failed})
    return Starlette(routes=routes, middleware=[reporting], exception_handlers={HTTPException: unknown})


class _Api:
    def __init__(self, served: ServedModel) -> None:
        self.served = served

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in self.served.names()]})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.served.applied(name)
        return JSONResponse(_model(name))

    async def chat(self, request: Request) -> Response:
        asked = read_chat_request(await read_json(request))
        question = await self._question(asked)
        answer = AsyncAnswer(self.served.engine, question)
        reply = Reply(asked.model, len(question.ids))
        if asked.stream:
            return EventStream(_events(answer, reply, asked), answer.cancel)
        return await cancelled_on_disconnect(request, _complete(answer, reply))

    async def _question(self, asked: ChatRequest) -> Question:
        applied = self.served.applied(asked.model)
        ids = await asyncio.to_thread(self.served.engine.encode, asked.turns, asked.system)
        return Question(
            ids,
            applied,
            asked.limit or self.served.engine.within_positions(ids, DEFAULT_TOKENS),
            1.0 if asked.temperature is None else asked.temperature,
            1.0 if asked.top_p is None else asked.top_p,
            asked.seed_of_row,
            asked.stops,
        )


async def _complete(answer: AsyncAnswer, reply: Reply) -> Response:
    pieces = [piece async for piece in answer]
    text = "".join(piece.text for piece in pieces)
    return JSONResponse(reply.complete(text, pieces[-1].finish, pieces[-1].tokens))


async def _events(answer: AsyncAnswer, reply: Reply, asked: ChatRequest) -> AsyncGenerator[str, None]:
    yield reply.event({"role": "assistant", "content": ""})
    last: Piece | None = None
    try:
        async for last in answer:
            if last.text:
                yield reply.event({"content": last.text})
    except Exception as error:  # noqa: BLE001 - reported to the client
        yield as_event(as_http_error(error).content)
        return
    assert last is not None
    yield reply.event({}, last.finish)
    if asked.stream_options is not None and asked.stream_options.include_usage:
        yield reply.usage_event(last.tokens)
    yield "data: [DONE]\n\n"


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "prosafeprune"}
