"""The books of a soak: what was handed in, what came back, and whether that balances."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.payloads import Sample

_ULID = re.compile(r"\.[0-9A-HJKMNP-TV-Z]{26}(?=\.|$)")


@dataclass(slots=True)
class _Sent:
    result: str  # the expected result's digest; empty: it must fail
    calls: int = 0
    size: int = 0
    delivered: int = 0
    failed: int = 0
    cancelled: bool = False

    @property
    def ends(self) -> int:
        return self.delivered + self.failed + self.cancelled


def digest(content: bytes) -> str:
    """Short enough to keep for every exchange of a day."""
    return hashlib.sha256(content).hexdigest()[:20]


def needed_calls(asked: Sample) -> int:
    """API calls that a file needs when nothing goes wrong: one a key, or one for a whole file."""
    if asked.name.endswith((".bin", ".raw")):
        return 1
    return len(set(re.findall(rb"\bk[0-9]{1,9}\b", asked.content)))


class Books:
    """Every name is handed in once, so whatever comes back under it belongs to it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, _Sent] = {}
        self._of_result: dict[str, str] = {}
        self.ways: Counter[str] = Counter()
        self.faults: list[str] = []

    def sent(self, asked: Sample, way: str, *, fails: bool = False) -> None:
        """A file is being handed in."""
        found = "" if fails else digest(asked.result)
        with self._lock:
            calls = 0 if fails else needed_calls(asked)
            self._sent[asked.name] = _Sent(found, calls, len(asked.content))
            self._of_result[found] = asked.name
            self.ways[way] += 1

    def not_sent(self, name: str) -> None:
        """It could not be handed in: the disk is full."""
        with self._lock:
            del self._sent[name]
            self.ways["refused: no room"] += 1

    def cancelled(self, name: str) -> None:
        """The application took it back in time."""
        with self._lock:
            self._sent[name].cancelled = True

    def came(self, name: str, content: bytes) -> None:
        """A result was delivered."""
        name, found = _ULID.sub("", name), digest(content)
        with self._lock:
            sent = self._sent.get(name)
            if sent is None:
                self.faults.append(f"not asked for: {name}")
                return
            sent.delivered += 1
            if found == sent.result:
                return
            other = self._of_result.get(found)
            self.faults.append(f"mixed up: {name} is {other}" if other else f"wrong: {name}")

    def failed(self, name: str) -> None:
        """An original was moved to failed/."""
        name = _ULID.sub("", name)
        with self._lock:
            sent = self._sent.get(name)
            if sent is None:
                self.faults.append(f"failed, and not asked for: {name}")
                return
            sent.failed += 1
            if sent.result:
                self.faults.append(f"failed for no reason: {name}")

    def waiting(self) -> list[str]:
        """What was handed in and has not come to an end."""
        with self._lock:
            return [name for name, sent in self._sent.items() if not sent.ends]

    def calls(self) -> tuple[int, int]:
        """API calls that must be made, and may be: who cancels may come late for that."""
        with self._lock:
            calls = [(sent.calls, sent.cancelled) for sent in self._sent.values()]
        return sum(n for n, cancelled in calls if not cancelled), sum(n for n, _ in calls)

    def size(self) -> int:
        """Bytes handed in."""
        with self._lock:
            return sum(sent.size for sent in self._sent.values())

    def ended(self) -> int:
        """How many have come to an end."""
        with self._lock:
            return sum(sent.ends > 0 for sent in self._sent.values())

    def sheet(self) -> dict[str, int]:
        """The balance: sent is the sum of the four that follow it, or something is doubled."""
        with self._lock:
            all_sent = list(self._sent.values())
        return {
            "sent": len(all_sent),
            "delivered": sum(sent.delivered > 0 for sent in all_sent),
            "failed as they should": sum(sent.failed > 0 for sent in all_sent),
            "cancelled": sum(sent.cancelled for sent in all_sent),
            "waiting (lost)": sum(not sent.ends for sent in all_sent),
            "doubled": sum(sent.ends > 1 for sent in all_sent),
            "mixed up": sum(fault.startswith("mixed up") for fault in self.faults),
            "otherwise wrong": sum(not fault.startswith("mixed up") for fault in self.faults),
        }


def collect(folder: Path, books: Books, *, but: str = "") -> None:
    """Take every result out of the inbox, except those whose name begins with `but`."""
    for path in folder.iterdir():
        if not path.name.startswith(".") and not (but and path.name.startswith(but)):
            content = path.read_bytes()
            path.unlink()
            books.came(path.name, content)


def collect_failed(folder: Path, books: Books) -> None:
    """Take every failed original away, with the problem document beside it."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.endswith(".problem.json"):
            continue
        problem = path.with_name(f"{path.name}.problem.json")
        if problem.exists():  # The last of the two to come.
            problem.unlink()
            path.unlink()
            books.failed(path.name)
