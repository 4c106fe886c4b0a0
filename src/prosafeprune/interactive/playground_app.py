"""The playground's server: the page, and what it asks for. What the page shows of models is decided here."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prosafeprune.errors import InputError
from prosafeprune.interactive.async_answers import AsyncAnswer, EventStream, in_daemon
from prosafeprune.interactive.guard import read_json
from prosafeprune.interactive.http_errors import as_http_error
from prosafeprune.interactive.openai_app import web_app
from prosafeprune.interactive.openai_format import as_event
from prosafeprune.interactive.playground_state import describe_state, layer_picture
from prosafeprune.interactive.save_model import ModelSaver, command, output_folder, reason_not_saved, require_room
from prosafeprune.jobs.served_model import ServedModel, Side
from prosafeprune.judges import Exchange, Judge, Verdict
from prosafeprune.judges.judging import judge_answers
from prosafeprune.model.chat_template import with_opened_thought
from prosafeprune.report.evidence_file import HARMFUL_ANSWER_CHARACTERS, shorten
from prosafeprune.requests.chat import PlaygroundRequest
from prosafeprune.serving.corrections import Applied
from prosafeprune.serving.running_answer import Piece, Question
from prosafeprune.text import printable

PAGE = {
    "/": ("index.html", "text/html"),
    "/play.css": ("play.css", "text/css"),
    "/play.js": ("play.js", "text/javascript"),
}
"""Files of the page, which hold nothing of the model and need no token."""


class EditSettings(BaseModel):
    """Which edit, at which strengths."""

    edit: str | None = None
    strengths: list[float] = Field(default=[], max_length=10_000)


class AnswerRequest(EditSettings):
    """One prompt for one or both sides."""

    prompt: str = Field(min_length=1, max_length=100_000)
    sides: list[Side] = Field(min_length=1, max_length=2)
    kind: Literal["harmless", "harmful"] | None = None
    """Answers to prompts that should be refused are shown cut short."""
    system: str = Field("", max_length=100_000)
    max_tokens: int = Field(128, ge=1, le=4096)
    temperature: float = Field(0.0, ge=0, le=2)


class SaveRequest(EditSettings):
    """A folder to save a model in."""

    name: str


@dataclass(frozen=True)
class Playground:
    """What the page works on."""

    served: ServedModel
    request: PlaygroundRequest
    judge: Judge
    saver: ModelSaver = field(default_factory=ModelSaver)
    drawing: threading.Lock = field(default_factory=threading.Lock)

    def app(self) -> Starlette:
        """Return the server, without a :class:`Guard`."""
        return web_app(
            *(Route(path, _page_file) for path in PAGE),
            Route("/api/state", self._state),
            Route("/api/picture", self._picture),
            Route("/api/answer", self._answer, methods=["POST"]),
            Route("/api/save", self._save, methods=["POST", "GET"]),
        )

    async def _state(self, request: Request) -> Response:
        return JSONResponse(describe_state(self.served, self.request, self.judge.name))

    async def _picture(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self._draw, request.query_params.get("edit", "")))

    def _draw(self, name: str) -> dict[str, str]:
        with self.drawing:  # matplotlib's settings are the process's
            return layer_picture(self.served, name)

    async def _answer(self, request: Request) -> Response:
        asked = _validated(AnswerRequest, await read_json(request))
        questions = {side: await self._question(asked, side) for side in dict.fromkeys(asked.sides)}
        answers: dict[Side, AsyncAnswer] = {}

        def cancel() -> None:
            for answer in answers.values():
                answer.cancel()

        try:
            for side, question in questions.items():
                answers[side] = AsyncAnswer(self.served.engine, question)
        except Exception:  # nobody waits for the first side's answer where the second is not taken
            cancel()
            raise
        return EventStream(self._events(asked, answers), cancel)

    async def _save(self, request: Request) -> Response:
        if request.method == "POST":
            asked = _validated(SaveRequest, await read_json(request))
            applied = self._applied(asked)
            if applied is None or not any(applied.strengths.values()):
                raise InputError("Strength 0 is the base model: there is nothing to save.")
            reason = reason_not_saved(self.served, self.request, applied.edit.name)
            if reason is not None:
                raise InputError(reason)
            folder = output_folder(asked.name)
            arguments = command(self.served, self.request, applied, folder)
            require_room(self.served.engine.loaded, arguments)
            self.saver.start(arguments, folder)
        return JSONResponse(self.saver.status)

    def _applied(self, asked: EditSettings) -> Applied | None:
        if asked.edit is None:
            return None
        edit = self.served.edits.get(asked.edit)
        if edit is None:
            raise InputError(f"There is no plan {asked.edit[:80]!r}.")
        return Applied(edit, edit.at(asked.strengths or None))

    async def _question(self, asked: AnswerRequest, side: Side) -> Question:
        engine = self.served.engine
        ids = await asyncio.to_thread(engine.encode, [("user", asked.prompt)], asked.system.strip() or None)
        applied = self._applied(asked) if side == "pruned" else None
        return Question(ids, applied, asked.max_tokens, asked.temperature, seed=f"0 {asked.prompt}")

    async def _events(self, asked: AnswerRequest, answers: dict[Side, AsyncAnswer]) -> AsyncGenerator[str, None]:
        events: asyncio.Queue[str | None] = asyncio.Queue()
        tasks = [asyncio.create_task(self._follow(asked, side, answer, events)) for side, answer in answers.items()]
        try:
            left = len(tasks)
            while left:
                event = await events.get()
                if event is None:
                    left -= 1
                else:
                    yield event
        finally:
            for task in tasks:
                task.cancel()

    async def _follow(
        self, asked: AnswerRequest, side: Side, answer: AsyncAnswer, events: asyncio.Queue[str | None]
    ) -> None:
        """Put the events of one answer, its verdict last."""
        text = ""
        try:
            async for piece in answer:
                text += piece.text
                if asked.kind != "harmful":
                    events.put_nowait(as_event({"side": side, **_shown(piece)}))
            if asked.kind == "harmful":
                events.put_nowait(as_event({"side": side, "text": printable(shorten(text, HARMFUL_ANSWER_CHARACTERS))}))
            verdict = await in_daemon(partial(self._judged, asked.prompt, text))
            events.put_nowait(as_event({"side": side, "verdict": _verdict(verdict)}))
        except Exception as error:  # noqa: BLE001 - reported to the page
            events.put_nowait(as_event(as_http_error(error).content))
        finally:
            events.put_nowait(None)

    def _judged(self, prompt: str, text: str) -> Verdict:
        answer = with_opened_thought(self.served.engine.loaded.tokenizer, prompt, text)
        [verdict] = judge_answers(self.judge, [Exchange(prompt, answer)])
        return verdict


def _shown(piece: Piece) -> dict[str, Any]:
    known = {"text": printable(piece.text), "refusal": piece.refusal, "finish": piece.finish}
    return {name: value for name, value in known.items() if value is not None and value != ""}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    answer_class = verdict.answer_class
    return {
        "class": answer_class.in_words,
        "reason": printable(verdict.reason),
        "complies": answer_class.complies,
        "refuses": answer_class.refuses,
        "safe": verdict.safe,
    }


def _validated(kind: type[Any], body: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}.") from error


async def _page_file(request: Request) -> Response:
    name, kind = PAGE[request.url.path]
    content = (resources.files("prosafeprune.interactive") / "page" / name).read_bytes()
    return Response(content, media_type=kind)
