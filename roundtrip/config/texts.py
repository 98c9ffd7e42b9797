"""What may stand in the texts of a pipeline: URLs, templates, selectors, secret references.

Each check returns the text as it is or raises ValueError with a sentence for the user. The
sentences never quote a URL, header or body: after secrets are filled in they would give them away.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import jmespath
from jmespath.exceptions import JMESPathError

from roundtrip.config.names import SECRET_NAME
from roundtrip.template import Template

# `$${` first: it is the escape, and must not be seen as `$` and then `${`.
REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>" + SECRET_NAME + r")\}")

_FIELD_NAME = re.compile(r"[\w.-]+")
_PLAIN_FIELD = re.compile(r"\{[\w.-]+\}")
_NOT_A_PROXY = "is not http:// and a host; write it like http://proxy.example.org:3128"
_NOT_A_FIELD = (
    "has a brace that is not a {field}; a field is a name of letters, digits, '_', '-' and '.'"
)
_ORIGIN = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")


def unreferenced(text: str) -> str:
    """Return `text` with `${` for each `$${`, and a space for each reference."""
    return REFERENCE.sub(lambda found: " " if found["name"] else "${", text)


def fields(text: str) -> list[str]:
    """Return the names in the `{field}` templates of a text, as the engine will read them."""
    return [field.name for field in Template(text).fields]


def check_references(text: str) -> str:
    """Check that each `${` is a whole `${NAME}`, or `$${` for a literal one."""
    if "${" in REFERENCE.sub(" ", text):
        raise ValueError(
            "has '${' without a secret's name and '}'; write ${NAME}, or $${ for a literal ${"
        )
    return text


def check_template(text: str) -> str:
    """Check references and fields; braces that hold neither, as in JSON, are plain characters."""
    check_references(text)
    return check_fields(text)


def check_local_template(text: str) -> str:
    """Check a template that no secret is filled into."""
    if "${" in text:
        raise ValueError("has ${...}, which is not filled in here: others could see it")
    return check_fields(text)


def check_fields(text: str) -> str:
    """Check that fields are names only: no attributes, indexes, conversions or formats."""
    if not all(_FIELD_NAME.fullmatch(name) for name in fields(unreferenced(text))):
        raise ValueError(_NOT_A_FIELD)
    return text


def check_secret(text: str) -> str:
    """Check a text that may hold secrets but no fields: no record may say who is calling."""
    check_references(text)
    if fields(unreferenced(text)):
        raise ValueError("has a {field}, and a record can't choose this; write it out, or ${NAME}")
    return text


def check_url(text: str) -> str:
    """Check a URL template: http or https, a literal host, fields only after it.

    A reference at the very beginning hides the host: it is checked again when it is filled in.
    """
    check_template(text)
    if re.search(r"[{}]", _PLAIN_FIELD.sub("", unreferenced(text))):
        raise ValueError(_NOT_A_FIELD)
    reference = REFERENCE.match(text)
    if not (reference and reference["name"]):
        check_origin(REFERENCE.sub("x", text))
    return text


def is_relative(text: str) -> bool:
    """Whether a place on a known host is a path, or one `{field}` that holds it."""
    return text.startswith("/") or _PLAIN_FIELD.fullmatch(text) is not None


def check_place(text: str) -> str:
    """Check a place on the host of the step: a path, one `{field}` that holds it, or a URL."""
    return check_template(text) if is_relative(text) else check_url(text)


def check_origin(url: str) -> str:
    """Check that scheme, host and port of a URL are there and hold no `{field}`.

    A field there would let one record send the request, secrets included, to any host.
    """
    if _UNSAFE.search(url):
        raise ValueError("has a space, backslash or control character; percent-encode it")
    if "#" in url:
        raise ValueError("has a '#', and a fragment is never sent; write %23 for a literal one")
    origin = _ORIGIN.match(url)
    if origin is None:
        raise ValueError("must begin with http:// or https://")
    if "{" in origin[1] or "}" in origin[1]:
        raise ValueError(
            "has a {field} in its host or port; fields may stand only in path and query"
        )
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "has no usable host or port; write it like https://api.example.org/ip/{ip}"
        )
    return url


def check_plain_url(text: str) -> str:
    """Check a URL without fields; secrets may be in it."""
    check_url(text)
    if fields(unreferenced(text)):
        raise ValueError("has a {field}, and this URL is the same for every file; write it out")
    return text


def check_proxy(text: str) -> str:
    """Check the URL of a proxy, which may hold secrets but no fields.

    A reference at the very beginning hides the host: it is checked again when it is filled in.
    """
    check_secret(text)
    if not text.startswith("${"):
        proxy_of(REFERENCE.sub("x", text))
    return text


def proxy_of(url: str) -> str:
    """Check the URL of a proxy: http, a host, and nothing after its port."""
    if not url.lower().startswith("http://"):
        raise ValueError(_NOT_A_PROXY)
    check_origin(url)
    parts = urlsplit(url)
    if parts.path.rstrip("/") or parts.query:
        raise ValueError(_NOT_A_PROXY)
    return url


def check_pattern(text: str) -> str:
    """Check a regular expression with at least one named group."""
    try:
        groups = re.compile(text).groupindex
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if not groups:
        raise ValueError("has no named group; write one like (?P<customer>[^_]+)")
    return text


def check_header(text: str) -> str:
    """Check a header's value template: one line (RFC 9110 section 5.5)."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
        raise ValueError("has a line break or control character; a header's value is one line")
    return check_template(text)


def check_progress(text: str) -> str:
    """Check that a text is a regular expression with one group, the percentage."""
    try:
        groups = re.compile(text.encode()).groups
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"has {groups} groups; give it one, around the number: '([0-9.]+)%'")
    return text


def check_selector(text: str) -> str:
    """Check that a text compiles as JMESPath."""
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(":.") if str(error) else "it is empty"
        raise ValueError(f"is not JMESPath: {reason}; see https://jmespath.org") from None
    except (RecursionError, ValueError):
        raise ValueError("is not JMESPath that can be compiled; make it simpler") from None
    return text
