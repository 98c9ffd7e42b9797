"""A program's arguments: templates that data can fill, and nothing else can come of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from roundtrip import scripts
from roundtrip.errors import RecordFault
from roundtrip.template import Field, Fields, Template

END_OF_OPTIONS = "--"  # POSIX.1-2017, utility syntax guideline 10


class Arguments:
    """What follows the program's name. A field stays inside its argument, whatever it holds."""

    def __init__(self, run: Sequence[str], key: str, *, names: bool = False) -> None:
        """ValueError, in one line that begins with the setting's `key`, when `run` can't be used.

        With `names`, fields may be names of files, whose bytes need not be UTF-8 (PEP 383).
        """
        if not run or not run[0]:
            raise ValueError(f"{key}: name a program")
        templates = [Template(text) for text in run]
        if templates[0].fields:
            raise ValueError(f"{key}: a field can't choose the program")
        try:
            scripts.refuse(run, lambda text: bool(Template(text).fields))
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        self._encode: Callable[[str], bytes] = os.fsencode if names else str.encode
        self.fields = [field for template in templates for field in template.fields]
        self._templates = templates[1:]
        end = run.index(END_OF_OPTIONS) if END_OF_OPTIONS in run else len(run)
        self._bare = [
            place < end and isinstance(template.parts[0] if template.parts else "", Field)
            for place, template in enumerate(self._templates, 1)
        ]

    def render(self, fields: Fields) -> list[bytes]:
        """The arguments for a record.

        RecordFault when a field is missing, empty or no plain value; when it holds a NUL; and when
        it would make its argument an option: begin it with `-` although no `--` came before.
        """
        return [
            self._argument(template, fields, bare)
            for template, bare in zip(self._templates, self._bare, strict=True)
        ]

    def _argument(self, template: Template, fields: Fields, bare: bool) -> bytes:
        text = template.render(fields, self._checked)
        if bare and text.startswith("-"):
            name = template.fields[0].name
            detail = f"field {name!r} begins with '-' and would be an option: put '--' before it"
            raise RecordFault("Unusable field", detail)
        return self._encode(text)

    def _checked(self, text: str) -> str:
        if "\0" in text:
            raise RecordFault("Unusable field", "an argument can't hold a NUL character")
        self._encode(text)  # a lone surrogate: the template's fault says which field
        return text
