"""One YAML file as plain data, with the line and column of every key and item in it.

Scalars follow the core schema of YAML 1.2 (section 10.3.2), not the 1.1 rules PyYAML comes with:
only `true` and `false` are booleans, `no`, `on`, `1:30` and dates are text, `012` is the number 12.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_VALUES = 20_000  # after aliases are followed: refuses a "billion laughs"

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_CORE_SCALARS: list[tuple[str, str, str]] = [
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
]


class Mark(NamedTuple):
    """A place in the file; both numbers count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One thing that is wrong: where in the data, and a sentence that says what to do."""

    path: Path
    text: str
    mark: Mark | None = None  # when the path alone doesn't say where


class NotYaml(Exception):
    """The text is not YAML at all, or is not safe to read further."""

    def __init__(self, text: str, mark: Mark | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.mark = mark


@dataclass
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each path of it stands."""

    data: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def known(self, path: Path) -> Path:
        """Return the longest beginning of `path` that the file has."""
        while path and path not in self.marks:
            path = path[:-1]
        return path

    def mark(self, path: Path) -> Mark:
        """Return where `path`, or the nearest thing around it, stands."""
        return self.marks.get(self.known(path), Mark(1, 1))


def dotted(path: Iterable[str | int]) -> str:
    """Return `('steps', 0, 'http')` as `steps[0].http`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(r"[\w-]+", part)
            part = part if len(part) <= 60 else part[:57] + "..."
            text += "." * bool(text) + (part if plain else json.dumps(part))
    return text


def parse(content: bytes) -> Document:
    """Return the document; raises NotYaml when nothing of it can be used."""
    if len(content) > MAX_BYTES:
        raise NotYaml(f"larger than {MAX_BYTES} bytes; a configuration is a small file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise NotYaml("not UTF-8; save the file as UTF-8", Mark(line, column)) from None
    document = Document()
    node = _compose(text)
    if node is not None:
        document.data = _Walk(document).value(node, ())
    return document


def _compose(text: str) -> yaml.Node | None:
    try:
        _refuse_deep_nesting(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise NotYaml(_sentence(error), _mark(error.problem_mark or error.context_mark)) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise NotYaml(f"not YAML: {error.reason}", mark) from None
    return node


def _refuse_deep_nesting(text: str) -> None:
    # libyaml's composer recurses in C: 100,000 brackets end the process with SIGSEGV (measured,
    # PyYAML 6.0.3). Its parser doesn't recurse, so the depth is known before the composer starts.
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise NotYaml(f"nested more than {MAX_DEPTH} deep", _mark(event.start_mark))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem, error.context]
    text = "not YAML: " + ", ".join(" ".join(part.split()) for part in parts if part)
    began = _mark(error.context_mark) if (error.context or "").startswith("while") else None
    return f"{text} that began on line {began.line}" if began else text


def _mark(mark: Any) -> Mark | None:
    return Mark(mark.line + 1, mark.column + 1) if mark else None


def _core_loader() -> Any:
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is 8 times faster
    loader: Any = type("CoreLoader", (base,), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in _CORE_SCALARS:
        firsts = [*first, ""] if tag == "null" else [*first]
        loader.add_implicit_resolver(_TAG + tag, re.compile(pattern), firsts)
    return loader


_LOADER = _core_loader()


class _Walk:
    """Turns composed nodes into plain data and notes where everything was."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0
        self.open: list[yaml.Node] = []  # from the root to here, to see an alias to its own parent

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise NotYaml(
                f"more than {MAX_VALUES} values; are aliases multiplied?", _mark(node.start_mark)
            )
        if any(node is parent for parent in self.open) or len(self.open) > MAX_DEPTH:
            raise NotYaml("an alias that contains itself", _mark(node.start_mark))
        self.document.marks.setdefault(path, _mark(node.start_mark) or Mark(1, 1))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            return self.sequence(node, path)
        finally:
            self.open.pop()

    def mapping(self, node: yaml.MappingNode, path: Path) -> Any:
        self.refuse_tag(node, "map", path)
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark) or Mark(1, 1)
            if (key := self.key(key_node, path, mark)) is None:
                continue
            if key in lines:
                text = f"duplicate key, already on line {lines[key]}; remove one of the two"
                self.document.problems.append(Problem((*path, key), text, mark))
                continue
            lines[key] = mark.line
            self.document.marks[(*path, key)] = mark
            data[key] = self.value(value_node, (*path, key))
        return data

    def key(self, node: yaml.Node, path: Path, mark: Mark) -> str | None:
        """Return a key as the text it is written with (`on`, `404` and `true` are names here)."""
        text = None
        if not isinstance(node, yaml.ScalarNode):
            text = "a key is a list or a mapping; write a name"
        elif node.value == "<<" and not node.style:
            text = "YAML 1.2 has no merge key (<<); write the keys out"
        if text is not None:
            self.document.problems.append(Problem(path, text, mark))
            return None
        return str(node.value)

    def sequence(self, node: yaml.Node, path: Path) -> list[Any]:
        self.refuse_tag(node, "seq", path)
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            return _plain(node.tag.removeprefix(_TAG), node.value)
        except (ValueError, KeyError):
            text = f"tag {node.tag!r} doesn't fit here; remove it"
            self.document.problems.append(Problem(path, text, _mark(node.start_mark)))
            return node.value

    def refuse_tag(self, node: yaml.Node, kind: str, path: Path) -> None:
        if node.tag != _TAG + kind:
            text = f"tag {node.tag!r} doesn't fit here; remove it"
            self.document.problems.append(Problem(path, text, _mark(node.start_mark)))


def _plain(tag: str, text: str) -> Any:
    """Return a scalar's value; ValueError or KeyError when its tag is not of the core schema."""
    if tag == "str":
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return {"true": True, "false": False}[text.lower()]
    if tag == "int":
        return _integer(text)
    if tag == "float":
        return _float(text)
    raise KeyError(tag)


def _integer(text: str) -> int | float:
    if len(text) > 300:  # int() refuses more than 4,300 digits, and no setting wants so many
        return math.inf
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


def _float(text: str) -> float:
    lower = text.lower()
    return float(lower.replace(".inf", "inf").replace(".nan", "nan"))
