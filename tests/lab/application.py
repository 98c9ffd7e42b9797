"""An application on host A: hands files in, takes results out, and keeps books about both.

It runs inside a guest, with the standard library only:

    application.py send --prefix P --count N [--rate R]     by rename into the outbox
    application.py slow --prefix P --count N --pause S      in place, piece by piece, in the outbox
    application.py request --prefix P --count N --pause S   the shell requester, on the shares
    application.py wait --seconds S                         take results until all came; the sheet
    application.py new                                      close the books

Books are JSON lines below /var/lib/lab, so that they live through a reboot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.e2e.payloads import Sample, sample

ROOT = Path("/srv/roundtrip")
_BOOKS = Path("/var/lib/lab")
_KINDS = ("csv", "jsonl", "bin", "raw")
_ULID = re.compile(r"\.[0-9A-HJKMNP-TV-Z]{26}(?=\.|$)")
_UNDER_WAY = ("outbox", "state/pending", "state/collected", "state/closing")
_LOOK = 0.2
_PIECES = 4
_USER = 6410  # the agent's, who may write on the other host's share


def _asked(prefix: str, number: int) -> Sample:
    name = f"{prefix}-{number}.{_KINDS[number % len(_KINDS)]}"
    return sample(Random(name), name, 400)


def _by_name(name: str) -> Sample:
    return sample(Random(name), name, 400)


def _note(book: str, **entry: Any) -> None:
    _BOOKS.mkdir(exist_ok=True)
    with (_BOOKS / book).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def _noted(book: str) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError):
        for line in (_BOOKS / book).read_text().splitlines():
            with contextlib.suppress(ValueError):  # The plug was pulled in the middle of a line.
                yield json.loads(line)


def _send(arguments: argparse.Namespace) -> None:
    outbox = ROOT / "outbox"
    for number in range(arguments.count):
        asked = _asked(arguments.prefix, number)
        part = outbox / f".{asked.name}.tmp"
        part.write_bytes(asked.content)
        _note("sent", name=asked.name, time=time.time())
        part.rename(outbox / asked.name)
        if arguments.rate:
            time.sleep(1 / arguments.rate)


def _slow(arguments: argparse.Namespace) -> None:
    asked = [_asked(arguments.prefix, number) for number in range(arguments.count)]
    files = [(ROOT / "outbox" / each.name).open("wb", buffering=0) for each in asked]
    for number in range(_PIECES):
        for each, file in zip(asked, files, strict=True):
            file.write(_piece(each.content, number))
            os.fsync(file.fileno())
        time.sleep(arguments.pause)
    for each, file in zip(asked, files, strict=True):
        _note("sent", name=each.name, time=time.time())
        file.close()


def _piece(content: bytes, number: int) -> bytes:
    size = -(-len(content) // _PIECES)
    return content[number * size : (number + 1) * size]


def _request(arguments: argparse.Namespace) -> None:
    """Write slowly on B's share, from here; then the marker; the answer must be whole and right.

    Over NFSv3, the host that has the disk is told three times meanwhile that the file was closed.
    """
    asked = [_asked(arguments.prefix, number) for number in range(arguments.count)]
    for each in asked:
        _note("sent", name=each.name, time=time.time())
    os.setegid(_USER)
    os.seteuid(_USER)
    requests, answers = ROOT / "Unenriched", ROOT / "share/Enriched"
    files = [(requests / each.name).open("wb", buffering=0) for each in asked]
    for number in range(_PIECES):
        for each, file in zip(asked, files, strict=True):
            file.write(_piece(each.content, number))
            os.fsync(file.fileno())
        time.sleep(arguments.pause)
    for each, file in zip(asked, files, strict=True):
        file.close()
        (requests / f"{each.name}.done").touch()
    told = [_answer(each, requests, answers, arguments.seconds) for each in asked]
    os.seteuid(0)
    os.setegid(0)
    for each, right in zip(asked, told, strict=True):
        _note("came", name=each.name, right=right, time=time.time())


def _answer(asked: Sample, requests: Path, answers: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (answers / f"{asked.name}.done").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK)
    right = (answers / asked.name).read_bytes() == asked.result
    (requests / f"{asked.name}.done").unlink()
    (requests / asked.name).unlink()
    return right


def _collect() -> None:
    """Take what is in the inbox. The time of a rename is the inode's change time."""
    for path in sorted((ROOT / "inbox").iterdir()):
        if path.name.startswith("."):
            continue
        name = _ULID.sub("", path.name)
        content, when = path.read_bytes(), path.stat().st_ctime
        right = bool(re.fullmatch(r".+-\d+\.\w+", name)) and content == _by_name(name).result
        _note("came", name=name, right=right, time=when)
        path.unlink()


def sheet(*, all_latencies: bool = False) -> dict[str, Any]:
    """The balance, and how long it took from the hand-in to the inbox."""
    sent = {each["name"]: each["time"] for each in _noted("sent")}
    came = list(_noted("came"))
    times = Counter(each["name"] for each in came)
    took = sorted(each["time"] - sent[each["name"]] for each in came if each["name"] in sent)
    failed = [path.name for path in (ROOT / "failed").iterdir() if not path.name.startswith(".")]
    lacking = [name for name in sent if not times[name]]
    return {
        "sent": len(sent),
        "delivered": sum(1 for name in sent if times[name]),
        "waiting": sum(1 for name in lacking if _is_waiting(name)),
        "lost": sum(1 for name in lacking if not _is_waiting(name)),
        "doubled": sum(times[name] > 1 for name in times),
        "wrong": sum(not each["right"] for each in came),
        "not asked for": sum(name not in sent for name in times),
        "failed": len(failed),
        "p50": round(took[len(took) // 2], 3) if took else None,
        "p99": round(took[min(len(took) - 1, len(took) * 99 // 100)], 3) if took else None,
        "max": round(took[-1], 3) if took else None,
    }


def _is_waiting(name: str) -> bool:
    return any(found.endswith(name) for folder in _UNDER_WAY for found in os.listdir(ROOT / folder))


def _wait(arguments: argparse.Namespace) -> None:
    begun = time.monotonic()
    while True:
        _collect()
        found = sheet()
        took = time.monotonic() - begun
        done = found["sent"] == found["delivered"] and not any(
            os.listdir(ROOT / folder) for folder in _UNDER_WAY[1:]
        )
        if done or took > arguments.seconds:
            break
        time.sleep(_LOOK)
    print(json.dumps({**found, "waited": round(took, 1)}))


def _new(_: argparse.Namespace) -> None:
    """Close the books: the next test begins with none, and with nothing of an earlier one."""
    for book in ("sent", "came"):
        (_BOOKS / book).unlink(missing_ok=True)
    for folder in ("inbox", "failed"):
        for path in (ROOT / folder).iterdir():
            path.unlink()


def main() -> None:
    """One command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = {"send": _send, "slow": _slow, "request": _request, "wait": _wait, "new": _new}
    parser.add_argument("command", choices=commands)
    parser.add_argument("--prefix", default="file")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    commands[arguments.command](arguments)


if __name__ == "__main__":
    main()
