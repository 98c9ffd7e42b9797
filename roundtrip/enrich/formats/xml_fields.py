"""One XML element as fields: what templates see of a record.

A child element is a member by its local name: its text, or if it has attributes or children an
object of them; repeated children are a list. Attributes are members `@name`; `#text` is the text of
an element that has members too, without white space around it.
"""

from __future__ import annotations

from typing import Any

_Frame = tuple[str, dict[str, Any], list[str]]  # name, members, pieces of text


class Fields:
    """Takes the parser's events within one record, and makes its fields of them.

    `open` has the elements that are open, the record first.
    """

    __slots__ = ("open", "text_seen")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.open: list[_Frame] = [(name, _attributes(attributes), [])]
        self.text_seen = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self.open.append((name, _attributes(attributes) if attributes else {}, []))

    def text(self, text: str) -> None:
        """Text, or a piece of it."""
        self.open[-1][2].append(text)

    def end(self) -> dict[str, Any] | None:
        """An element ends; the fields if it was the record."""
        stack = self.open
        name, members, texts = stack.pop()
        text = "".join(texts)
        value: Any = text
        if members or not stack:
            if text := text.strip():
                members["#text"] = text
            value = members
        if not stack:
            self.text_seen = bool(texts)
            return members
        name = local(name)
        siblings = stack[-1][1]
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]
        return None

    @property
    def bare(self) -> bool:
        """Whether the innermost open element has had neither text nor child elements."""
        _, members, texts = self.open[-1]
        return not texts and all(name.startswith("@") for name in members)


def local(name: str) -> str:
    """The name without its prefix."""
    return name.rpartition(":")[2] if ":" in name else name


def _attributes(attributes: dict[str, str]) -> dict[str, Any]:
    """Attributes as members; declarations of namespaces are none."""
    return {
        "@" + local(name): value
        for name, value in attributes.items()
        if name != "xmlns" and not name.startswith("xmlns:")
    }
