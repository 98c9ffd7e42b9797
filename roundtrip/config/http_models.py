"""The keys of a step's `http`: one request, who asks, pages and jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from roundtrip.config import names
from roundtrip.config.step_checks import AUTH_KINDS
from roundtrip.config.values import (
    Bytes,
    Count,
    Header,
    HeaderName,
    JsonTemplate,
    Method,
    Model,
    Name,
    Pause,
    Place,
    Secret,
    Selector,
    Template,
    Text,
    UrlTemplate,
    one_of,
)

KeyHeader = Annotated[
    str,
    BeforeValidator(names.check_key_header),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"const": False}]}),
]


class BasicModel(Model):
    """Name and password (RFC 7617)."""

    user: Secret = Field(description="The user's name.")
    password: Secret = Field(description="The password.")


class KeyModel(Model):
    """An API key."""

    name: Name = Field(default="X-Api-Key", description="The header or query parameter.")
    in_: Literal["header", "query"] = Field(
        default="header", alias="in", description="Where the key is put."
    )
    value: Secret = Field(description="The key.")


class OAuth2Model(Model):
    """Client credentials (RFC 6749 section 4.4)."""

    token_url: UrlTemplate = Field(description="Where tokens are had.")
    client_id: Secret = Field(description="Who asks.")
    client_secret: Secret = Field(description="The client's secret.")
    scope: Secret = Field(default="", description="What the token is for.")
    audience: Secret = Field(default="", description="Whom the token is for.")


class AuthModel(Model):
    """How a call shows who is calling; one of the keys."""

    model_config = one_of(*AUTH_KINDS)

    basic: BasicModel | None = None
    bearer: Secret | None = Field(default=None, description="A token.")
    key: KeyModel | None = None
    oauth2: OAuth2Model | None = None


class PagesModel(Model):
    """How the following pages of an answer are found."""

    items: Selector = Field(default="@", description="JMESPath to a page's list.")
    next: Selector | None = Field(
        default=None, description="`link` (RFC 8288) or a JMESPath to the next page's URL."
    )
    cursor: Selector | None = Field(
        default=None, description="JMESPath to a value that `param` carries to the next page."
    )
    param: Text = Field(default="page", description="The query parameter.")
    first: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=1, description="The first page's number."
    )
    most: Count = Field(default=100, description="Pages of one answer; more is an error.")


class JobModel(Model):
    """How to wait for an asynchronous API."""

    url: Place | None = Field(
        default=None, description="Where to poll; {field} of the submission's answer."
    )
    status: Selector | None = Field(default=None, description="JMESPath to the job's state.")
    done: list[Text] = Field(default=[], description="States that end it well.")
    failed: list[Text] = Field(default=[], description="States that end it badly.")
    result: Place | None = Field(
        default=None, description="Where the result is; {field} of the last poll's answer."
    )
    every: Pause = Field(default=10.0, description="Pause between two polls.")
    within: Pause = Field(default=30 * 86400.0, description="Longest wait for its end.")


class HttpModel(Model):
    """One HTTP request."""

    url: UrlTemplate = Field(
        description="Where to; {field} is a percent-encoded record field, in path and query only."
    )
    method: Method = Field(default="GET", description="The request's method.")
    headers: dict[HeaderName, Header] = Field(default={}, description="Header values.")
    query: dict[str, Template] = Field(
        default={}, description="Query parameters, added to the URL's."
    )
    json_: JsonTemplate = Field(
        default=None, alias="json", description="Body as data; {field} in its texts is filled in."
    )
    form: dict[str, Template] = Field(default={}, description="Body as a form's fields.")
    body: Template | None = Field(default=None, description="Body as text.")
    auth: AuthModel | None = None
    pages: PagesModel | None = None
    job: JobModel | None = None
    idempotent: bool | None = Field(
        default=None, description="Whether a repeated call does no harm; without it, by method."
    )
    idempotency_key: KeyHeader = Field(
        default="Idempotency-Key",
        description="Header that marks a repeated call as the same; or off.",
    )
    max_response: Bytes = Field(
        default=64 * 1024 * 1024, description="The largest answer that is taken, decoded."
    )
