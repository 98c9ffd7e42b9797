"""A real API besides our own: prism, a mock server from npm, enforces an OpenAPI document.

`scripts/test` installs it, as `server/package-lock.json` says. For a newer one, change
`server/package.json`, and in that folder run `npm install --package-lock-only
--omit-lockfile-registry-resolved`.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from itertools import count
from pathlib import Path
from types import TracebackType

PATIENCE = 60.0  # seconds; it starts in one or two

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LISTENING = re.compile(r"Prism is listening on (http://\S+)")
_ASKED = re.compile(r"\[HTTP SERVER\] (\w+ \S+) .*Request received")
_REFUSED = re.compile(r"(?:\[VALIDATOR\].*(?:warning|error) +|(?=Request terminated))(.*)")


class Mock:
    """One prism process with one document, on a free port of loopback. It ends with the block."""

    def __init__(self, document: Path, log: Path, *options: str) -> None:
        self._log = log
        self._marks = count()
        self._looked_to = 0
        command = ["prism", "mock", str(document), "--host", "127.0.0.1", "--port", "0", *options]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            self.url = self._logged(_LISTENING)[1]
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Mock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def seen(self) -> tuple[list[str], list[str]]:
        """The requests since the last look (`get /path`), and what was wrong with them."""
        mark = f"get /-{next(self._marks)}-"
        self._ask(mark.removeprefix("get "))
        found = self._logged(re.compile(f"{mark} .*Request terminated.*\n"))
        new = self._text()[self._looked_to : found.end()].partition(mark)[0]
        self._looked_to = found.end()
        return _ASKED.findall(new), _REFUSED.findall(new)

    def _ask(self, path: str) -> None:
        """Ask for what isn't there: its log is in order, so all before it is complete then."""
        address = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except OSError as error:  # it dies of violations that it can't put into a header
            raise AssertionError(f"prism is gone: {self._text()[-3000:]}") from error
        finally:
            connection.close()

    def _logged(self, wanted: re.Pattern[str]) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (found := wanted.search(self._text())):
            assert self._process.poll() is None, f"prism ended: {self._text()[-3000:]}"
            assert time.monotonic() < deadline, f"prism's log has no {wanted.pattern}"
            time.sleep(0.01)
        return found

    def _text(self) -> str:
        return _COLOUR.sub("", self._log.read_text(errors="replace"))

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
