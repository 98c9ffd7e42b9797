"""What all parts of a file need on their way to Settings: paths, secrets, a list of problems."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from roundtrip.config.document import Path as Keys
from roundtrip.config.document import Problem
from roundtrip.config.named import Filler, NamedSecrets
from roundtrip.config.secrets import Secrets
from roundtrip.config.texts import check_origin, is_relative


class Filling:
    """Fills in what one file leaves open; what it finds wrong gathers in `problems`."""

    def __init__(self, folder: Path, root: str | None, role: str) -> None:
        """`folder` is the file's own: a relative `root` begins there."""
        self.role = role
        self.problems: list[Problem] = []
        self.root = folder
        if root is not None:
            self.root = self.path(("root",), root)
        self._secrets: Filler = NamedSecrets()

    def look_up(self, files: Mapping[str, str]) -> None:
        """Fill in secrets from now on, and not only their names; `files` hold some, by name."""
        paths = {name: self.path(("secrets", name), text) for name, text in files.items()}
        self._secrets = Secrets(paths, os.environ)

    def path(self, keys: Keys, text: str) -> Path:
        """Return an absolute path, without a look at the disk: a mount may hang."""
        expanded = os.path.expanduser(text)
        if expanded.startswith("~"):
            self.problem(keys, "names a user that this host doesn't have; write the whole path")
        return Path(os.path.abspath(self.root / expanded))

    def file(self, keys: Keys, text: str | None) -> str | None:
        """Return the same as text, for a file that may be left out."""
        return None if text is None else str(self.path(keys, text))

    def url(self, keys: Keys, text: str) -> str:
        """Return a URL, its host checked again now that secrets are in it."""
        url = self._filled(keys, text, self._secrets.fill_url)
        if "${" not in url:  # else it is not filled in: this role has no use for it
            try:
                check_origin(url)
            except ValueError as error:
                self.problem(keys, f"{error} (with its secrets filled in)")
        return url

    def place(self, keys: Keys, text: str) -> str:
        """Return a place on the step's own host: a path or `{field}` has no host to be checked."""
        return self.fill(keys, text) if is_relative(text) else self.url(keys, text)

    def fill(self, keys: Keys, text: str) -> str:
        """Return a template with its secrets filled in, which only role b needs."""
        return self._filled(keys, text, self._secrets.fill)

    def sent(self, keys: Keys, text: str) -> str:
        """Return a text that is sent, but is no template, with its secrets filled in."""
        return self._filled(keys, text, self._secrets.fill_sent)

    def local(self, keys: Keys, text: str) -> str:
        """Return a text that stays on this host with its secrets filled in."""
        return self._filled(keys, text, self._secrets.fill_local)

    def own(self, keys: Keys, text: str) -> str:
        """Return a text that is no template with its secrets filled in, which only role a needs."""
        return self._filled(keys, text, self._secrets.fill_sent, "a")

    def both(self, keys: Keys, text: str) -> str:
        """Do the same for a text that either role needs."""
        return self._filled(keys, text, self._secrets.fill_sent, self.role)

    def own_checked(self, keys: Keys, text: str, check: Callable[[str], object]) -> str:
        """Do the same as `own` for a text that `check` may refuse once secrets are in it."""
        return self._checked(keys, self.own(keys, text), check) if self.role == "a" else text

    def both_checked(self, keys: Keys, text: str, check: Callable[[str], object]) -> str:
        """Do the same for a text that either role needs."""
        return self._checked(keys, self.both(keys, text), check)

    def _checked(self, keys: Keys, filled: str, check: Callable[[str], object]) -> str:
        """Let `check` refuse, by ValueError, a text that has its secrets."""
        if not isinstance(self._secrets, NamedSecrets) and "${" not in filled:
            try:
                check(filled)
            except ValueError as error:
                self.problem(keys, str(error))
        return filled

    def own_url(self, keys: Keys, text: str) -> str:
        """Do the same for a URL, which is checked again now that secrets are in it."""
        url = self._filled(keys, text, self._secrets.fill_url, "a")
        if "${" not in url:
            try:
                check_origin(url)
            except ValueError as error:
                self.problem(keys, f"{error} (with its secrets filled in)")
        return url

    def each(self, keys: Keys, texts: Mapping[str, str]) -> dict[str, str]:
        """Return templates by name with their secrets filled in."""
        return {name: self.fill((*keys, name), text) for name, text in texts.items()}

    def problem(self, keys: Keys, text: str) -> None:
        """Note what is wrong with a key."""
        self.problems.append(Problem(keys, text))

    def _filled(self, keys: Keys, text: str, fill: Callable[[str], str], role: str = "b") -> str:
        if self.role != role:
            return text
        try:
            return fill(text)
        except ValueError as error:
            self.problem(keys, str(error))
            return text
