"""Errors as the OpenAI API sends them, which its clients know how to show."""

from http import HTTPStatus

from starlette.responses import JSONResponse

from prosafeprune.errors import InputError, ProSafePruneError
from prosafeprune.jobs.served_model import UnknownModelError
from prosafeprune.serving.engine import EngineBusyError


class HttpError(ProSafePruneError):
    """A request that is not answered."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    @property
    def content(self) -> dict[str, dict[str, str | None]]:
        """The error as an object of the API."""
        kind = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the reply that reports it."""
        return JSONResponse(self.content, self.status)


def as_http_error(error: Exception) -> HttpError:
    """Return the error to send for one that was raised while a request was answered."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, UnknownModelError):
        return HttpError(HTTPStatus.NOT_FOUND, str(error), code="model_not_found", param="model")
    if isinstance(error, EngineBusyError):
        return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), code="overloaded")
    if isinstance(error, InputError):
        code = "context_length_exceeded" if "max_position_embeddings" in str(error) else None
        message = str(error).replace("--max-new-tokens", "max_tokens")  # the API has no options of a command
        return HttpError(HTTPStatus.BAD_REQUEST, message, code=code)
    if isinstance(error, ProSafePruneError):
        return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
    return HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, f"Unexpected {type(error).__name__}.")
