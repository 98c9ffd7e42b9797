"""Secrets: where `${NAME}` comes from, and texts that don't show what was filled into them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from re import Match

from roundtrip.config.texts import REFERENCE, fields, unreferenced
from roundtrip.template import Template

MAX_BYTES = 64 * 1024


class Filled(str):
    """A text with secrets in it, whose repr is the text as the configuration file has it."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, text: str, written: str = "") -> Filled:
        """Keep both: `text` is the value, `written` what repr shows (a copy sets it later)."""
        filled = super().__new__(cls, text)
        filled.written = written
        return filled

    def __repr__(self) -> str:
        return repr(self.written)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Looks a secret up in the environment, then systemd's credentials, then the named files."""

    files: Mapping[str, Path]
    environment: Mapping[str, str]

    def find(self, name: str) -> str:
        """Return a secret of one line; raises ValueError with a sentence that doesn't hold it.

        An empty variable counts as not set. Credentials: systemd.exec(5), `LoadCredential=`.
        """
        if value := self.environment.get(name):
            return _one_line(name, value)
        for file in self._files(name):
            if value := _read(file):
                return _one_line(name, value)
        if name in self.files:
            raise ValueError(f"the secret {name} is empty in {self.files[name]}")
        raise ValueError(
            f"the secret {name} is nowhere; set the environment variable {name}, pass a systemd "
            f"credential {name}, or name its file below 'secrets:'"
        )

    def fill(self, text: str) -> str:
        """Return `text` with each `${NAME}` filled in and each `$${` as `${`; raises ValueError."""
        if "${" not in text:
            return text
        filled = REFERENCE.sub(self._literal, text)
        if fields(filled) != fields(unreferenced(text)):
            raise ValueError(
                "has a word in braces once ${...} is filled in, which would be read as a field; "
                "change the text around it"
            )
        return Filled(filled, text)

    def fill_url(self, text: str) -> str:
        """Do the same for a URL."""
        return self.fill(text)

    def fill_sent(self, text: str) -> str:
        """Do the same for a text that is no template: braces in a secret mean nothing there."""
        return self.fill_local(text)

    def fill_local(self, text: str) -> str:
        """Do the same for a text that stays on this host."""
        if "${" not in text:
            return text
        return Filled(REFERENCE.sub(self._found, text), text)

    def _found(self, reference: Match[str]) -> str:
        return self.find(reference["name"]) if reference["name"] else "${"

    def _literal(self, reference: Match[str]) -> str:
        name, value = reference["name"], self._found(reference)
        if name and Template(value).parts != (value,):
            raise ValueError(
                f"the secret {name} has a word in braces, which would be read as a field"
            )
        return value

    def _files(self, name: str) -> Iterator[Path]:
        folder = self.environment.get("CREDENTIALS_DIRECTORY")
        if folder and os.path.exists(credential := Path(folder, name)):
            yield credential
        if name in self.files:
            yield self.files[name]


def _one_line(name: str, value: str) -> str:
    if any(character in value for character in "\r\n\0"):
        raise ValueError(
            f"the secret {name} has more than one line; only one-line secrets can be sent"
        )
    if any("\ud800" <= character <= "\udfff" for character in value):  # as os.environ has bytes
        raise ValueError(f"the secret {name} is not UTF-8 text")
    return value


def _read(file: Path) -> str:
    try:
        with open(file, "rb") as source:
            content = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"the secret's file {file} can't be read: {os.strerror(error.errno or 0)}"
        ) from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"the secret's file {file} is larger than {MAX_BYTES} bytes")
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"the secret's file {file} is not UTF-8 text") from None
