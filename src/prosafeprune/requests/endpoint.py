"""Options for a model behind OpenAI-compatible servers, and which parts of a server's URL may be recorded."""

import json
from typing import Any, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from prosafeprune.errors import InputError
from prosafeprune.requests.parsing import OneOrMore, first_changed
from prosafeprune.text import SURROGATE

MAX_CONCURRENCY = 1024
SET_BY_US = (
    *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "n"),
    "stream",
)
"""Fields of a request's body that have separate options, or that parsing of answers depends on."""
IN_MEMORY = ("revision", "trust_remote_code", "device", "dtype", "batch_size")
"""Settings of a model that is loaded here, which a server does not hear of."""


def recorded_urls(urls: str | None) -> str | None:
    """Return the URLs of an endpoint as records have them: without user names, passwords and queries."""
    from prosafeprune.generation.endpoint_address import shown_urls  # loads torch with its package

    try:
        return urls and shown_urls(urls)
    except InputError:  # not usable, so it was not used
        return "[invalid URL]"


class EndpointOptions(BaseModel):
    """Servers that have the model, and what is sent to them."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Endpoint")

    endpoint: str | None = Field(
        None,
        repr=False,
        description="URL of an OpenAI-compatible server that serves the model, such as http://localhost:8000/v1; "
        "several, separated by commas, share the work. API key: PROSAFEPRUNE_API_KEY or OPENAI_API_KEY.",
    )
    concurrency: int = Field(8, ge=1, le=MAX_CONCURRENCY, description="Concurrent requests to an endpoint.")
    request: OneOrMore = Field(
        (),
        description="A field to add to every request to the endpoint, as FIELD=JSON, such as "
        "'chat_template_kwargs={\"enable_thinking\": false}'; may be given more than once.",
        json_schema_extra={"short": "-r"},
    )

    @field_serializer("endpoint", when_used="json")
    def _without_credentials(self, value: str | None) -> str | None:
        return recorded_urls(value)

    @field_validator("request")
    @classmethod
    def _json_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _read_fields(value)
        return value

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.endpoint is None:
            unused, remedy = first_changed(self, ("request", "concurrency")), "give its URL with endpoint"
            what = "request fields are sent to" if unused == "request" else f"{unused} is for"
            if unused is not None:
                raise ValueError(f"{what} an endpoint; {remedy}")
        elif (unused := first_changed(self, IN_MEMORY)) is not None:
            raise ValueError(f"{unused} is for a model that is loaded here, and the endpoint's is not; leave it out")
        return self

    def request_fields(self) -> dict[str, Any]:
        """Return the fields to add to the body of every request."""
        return _read_fields(self.request)


def _read_fields(given: tuple[str, ...]) -> dict[str, Any]:
    from prosafeprune.generation.credentials import hide_secrets

    fields: dict[str, Any] = {}
    for field in given:
        name, equals, text = field.partition("=")
        name = name.strip()
        if hide_secrets(field) != field:
            raise ValueError("contains the API key, which would be recorded; set PROSAFEPRUNE_API_KEY alone")
        if not name or not equals or SURROGATE.search(field):
            raise ValueError("write FIELD=JSON, such as 'reasoning_effort=\"low\"'")
        if name in SET_BY_US:
            raise ValueError(f"{name} is set by prosafeprune; use its own option, if it has one")
        if name in fields:
            raise ValueError(f"{name} is given twice")
        try:
            fields[name] = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise ValueError(
                f"{name}: not valid JSON ({reason}); text needs double quotes inside the shell's"
            ) from None
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
