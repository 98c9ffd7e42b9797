"""A command's arguments: templates that data can fill, and nothing else can come of it."""

from __future__ import annotations

from collections.abc import Sequence

from roundtrip.enrich.faults import RecordFault
from roundtrip.enrich.steps.sent import Sent
from roundtrip.enrich.template import Field, Fields, Template

END_OF_OPTIONS = "--"  # POSIX.1-2017, utility syntax guideline 10


class Arguments:
    """What follows the program's name. A field stays inside its argument, whatever it holds."""

    def __init__(self, run: Sequence[str], sent: Sent, *, batch: bool) -> None:
        """ValueError, in one line, when `run` can't be used."""
        if not run or not run[0]:
            raise ValueError("command.run: name a program")
        templates = [Template(text) for text in run]
        if templates[0].fields:
            raise ValueError("command.run: a field can't choose the program")
        for field in (field for template in templates for field in template.fields):
            if batch:
                raise ValueError(f"command.run: with batch, no argument can hold {{{field.name}}}")
            if not sent.allows(field):
                raise ValueError(f"command.run: {{{field.name}}} is not among the step's send")
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
            _argument(template, fields, bare)
            for template, bare in zip(self._templates, self._bare, strict=True)
        ]


def _argument(template: Template, fields: Fields, bare: bool) -> bytes:
    text = template.render(fields, _checked)
    if bare and text.startswith("-"):
        name = template.fields[0].name
        detail = f"field {name!r} begins with '-' and would be an option: put '--' before it"
        raise RecordFault("Unusable field", detail)
    return text.encode()


def _checked(text: str) -> str:
    if "\0" in text:
        raise RecordFault("Unusable field", "an argument can't hold a NUL character")
    text.encode()  # a lone surrogate: the template's fault says which field
    return text
