"""Templates: text with `{field}` in it, and nothing cleverer, so that data can't run or leak.

`{name}` is a record's field, `{geo.country}` one inside another (a field whose own name is
`geo.country` goes first), `{{name}}` the literal text `{name}`. A brace that begins no field name
(as in JSON or GraphQL) is literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

from roundtrip.errors import RecordFault

Fields = Mapping[str, Any]

_FIELD = re.compile(r"""\{\{([^{}]*)\}\}|\{([^\s{}"':,](?:[^{}"\n]*[^\s{}"])?)\}""")
_URL = re.compile(r"(https?://)([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?\Z", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*\Z").match  # much faster than quote()
_ABSENT = object()

DECODED = 3  # times that a path may be percent-decoded on its way
URI_TOO_LONG = 414  # RFC 9110 section 15.5.15; makes a batch be halved
LONGEST = 32 * 1024  # characters of a path with its query, and of a header: servers take 8,000


class Field:
    """One `{field}`: its name, and the way to it when it lies in a nested value."""

    __slots__ = ("name", "path")

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = name.split(".")

    def value(self, fields: Fields) -> Any:
        """The field's value as it is; RecordFault when the record has none."""
        found = fields.get(self.name, _ABSENT)
        if found is _ABSENT:
            found = _walk(fields, self.path)
        if found is _ABSENT or found is None:
            raise RecordFault("Missing field", f"the record has no field {self.name!r}")
        return found

    def text(self, fields: Fields) -> str:
        """The field's value as text; RecordFault when it is a list or an object."""
        value = self.value(fields)
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float | Decimal):
            return str(value)
        raise RecordFault("Unusable field", f"field {self.name!r} is not a plain value")


class Template:
    """Text with fields, split once into literals and fields."""

    __slots__ = ("fields", "parts")

    def __init__(self, text: str, literal: Callable[[str], str] = str) -> None:
        self.parts = _split(text, literal)
        self.fields = tuple(part for part in self.parts if isinstance(part, Field))

    def render(self, fields: Fields, encode: Callable[[str], str], *, empty: bool = False) -> str:
        """The text with each field's value put in through `encode`.

        Raises RecordFault when a field is missing or (unless `empty`) has no text.
        """
        out = []
        for part in self.parts:
            if isinstance(part, str):
                out.append(part)
                continue
            text = part.text(fields)
            if not text and not empty:
                raise RecordFault("Missing field", f"field {part.name!r} is empty")
            out.append(_encoded(text, part, encode))
        return "".join(out)


def percent(text: str) -> str:
    """Percent-encode everything that is not unreserved (RFC 3986 section 2.3)."""
    return text if _UNRESERVED(text) else quote(text, safe="")


class Url:
    """A URL template. Scheme, host, port and credentials are literal: no field can change them.

    `origin` is the URL up to the path, without the credentials; those are `userinfo`, as written.
    """

    __slots__ = ("constant", "host", "origin", "path", "query", "userinfo")

    def __init__(
        self, url: str, query: Mapping[str, str], constants: Mapping[str, str] | None = None
    ) -> None:
        """`query` has templates, `constants` (further parameters) texts that are not.

        ValueError, in one line without the URL's query, when the template can't be used.
        """
        scheme, authority, path, literal_query = _url_parts(url)
        self.userinfo, _, self.host = authority.rpartition("@")
        self.origin = scheme.lower() + self.host
        self.path = Template(path or "/", _quote_path)
        self.query = Template(literal_query, _quote_query) if literal_query else None
        pairs = [(percent(key), Template(value, percent)) for key, value in query.items()]
        for key, text in (constants or {}).items():
            pairs.append((percent(key), _constant(percent(text))))
        self.query = _joined(self.query, pairs)
        self.constant = None if self.fields else self.render({})

    @property
    def fields(self) -> tuple[Field, ...]:
        """The record fields that the template names."""
        return self.path.fields + (self.query.fields if self.query else ())

    def render(self, fields: Fields) -> str:
        """The record's URL; RecordFault as for `target`."""
        return self.origin + self.target(fields)

    def target(self, fields: Fields, encode: Callable[[str], str] = percent) -> str:
        """What follows the origin: path and query.

        RecordFault when a field is missing, empty, too long or would climb in the path.

        Fields are percent-encoded (RFC 3986 section 2.1, nothing reserved left), so a value can't
        add a path segment, a query or a fragment. A value that makes a segment `.` or `..`, even
        after a server has decoded it, is refused: many servers would then climb (section 5.2.4).
        """
        path = self.path.render(fields, encode)
        if self.path.fields and ("." in path or "%25" in path) and _climbs(path):
            raise RecordFault("Unusable field", "a field would change the path with '.' or '..'")
        target = path if self.query is None else f"{path}?{self.query.render(fields, encode)}"
        if len(target) > LONGEST:
            detail = f"the URL would be longer than {LONGEST} characters"
            raise RecordFault("Unusable field", detail, URI_TOO_LONG)
        return target


def header_text(text: str) -> str:
    """Text for a header's value; RecordFault on control characters, which could add a header.

    RecordFault, too, when it is longer than any server takes.
    """
    if _CONTROL.search(text):
        raise RecordFault("Unusable field", "a header's value can't hold control characters")
    if len(text) > LONGEST:
        raise RecordFault("Unusable field", f"a header's value is longer than {LONGEST} characters")
    return text


def structure(node: object) -> tuple[Callable[[Fields], object], tuple[Field, ...]]:
    """Compile a JSON template: its string leaves may hold fields, its keys are literal.

    A leaf that is exactly one `{field}` keeps the value's type. Empty text is allowed here.
    """
    if isinstance(node, str):
        return _leaf(Template(node))
    if isinstance(node, Mapping):
        compiled = {str(key): structure(value) for key, value in node.items()}
        fields = tuple(field for _, found in compiled.values() for field in found)
        makers = {key: maker for key, (maker, _) in compiled.items()}
        return (lambda record: {key: make(record) for key, make in makers.items()}), fields
    if isinstance(node, Sequence):
        listed = [structure(value) for value in node]
        fields = tuple(field for _, found in listed for field in found)
        return (lambda record: [make(record) for make, _ in listed]), fields
    return (lambda record: node), ()


def _leaf(template: Template) -> tuple[Callable[[Fields], object], tuple[Field, ...]]:
    if len(template.parts) == 1 and template.fields:
        return template.fields[0].value, template.fields
    return (lambda record: template.render(record, str, empty=True)), template.fields


def _split(text: str, literal: Callable[[str], str]) -> tuple[str | Field, ...]:
    parts: list[str | Field] = []
    plain, end = "", 0
    for found in _FIELD.finditer(text):
        plain += text[end : found.start()]
        end = found.end()
        if found[2] is None:
            plain += "{" + found[1] + "}"
            continue
        if plain:
            parts.append(literal(plain))
            plain = ""
        parts.append(Field(found[2]))
    plain += text[end:]
    return (*parts, literal(plain)) if plain else tuple(parts)


def _walk(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value


def _encoded(text: str, field: Field, encode: Callable[[str], str]) -> str:
    try:
        return encode(text)
    except UnicodeEncodeError:
        raise RecordFault("Unusable field", f"field {field.name!r} is not valid text") from None


def _url_parts(url: str) -> tuple[str, str, str, str | None]:
    found = _URL.match(url)
    if found is None or not found[2] or _CONTROL.search(url):
        raise ValueError("url must be an absolute http:// or https:// URL")
    scheme, authority, path, query, fragment = found.groups()
    if "{" in authority or "}" in authority:
        raise ValueError("url: a field can't choose the host, the port or the credentials")
    if re.search(r"[\s\\]", authority):
        raise ValueError("url: the host can't hold spaces or backslashes")
    if fragment is not None:
        raise ValueError("url: a '#' fragment is never sent; write %23 for a literal one")
    return scheme, authority, path, query


def _constant(text: str) -> Template:
    made = Template("")
    made.parts = (text,)
    return made


def _joined(first: Template | None, pairs: list[tuple[str, Template]]) -> Template | None:
    if not pairs:
        return first
    joined = first or Template("")
    for key, value in pairs:
        prefix = f"&{key}=" if joined.parts else f"{key}="
        joined.parts = (*joined.parts, prefix, *value.parts)
        joined.fields = (*joined.fields, *value.fields)
    return joined


def _quote_path(text: str) -> str:
    return quote(_STRAY.sub("%25", text), safe="/%:@!$&'()*+,;=~")


def _quote_query(text: str) -> str:
    return quote(_STRAY.sub("%25", text), safe="/%:@!$&()*+,;=~?")


def _climbs(path: str) -> bool:
    """Whether a segment is `.` or `..`, decoded as often as a proxy and its servers may do it.

    What follows a `;` in a segment is cut off by some servers (`/..;/`, a path parameter).
    """
    for _ in range(DECODED):
        path = unquote(path)
        segments = {segment.partition(";")[0] for segment in re.split(r"[/\\]", path)}
        if not segments.isdisjoint({".", ".."}):
            return True
        if "%" not in path:
            return False
    return False
