"""The floor: the system calls of one exchange in a bare loop, in one process, with no agent.

Run as a program: `python -m bench.floor --root DIR --files N [--api URL]` prints one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.workload import ANSWER, request

FOLDERS = ("outbox", "Unenriched", "Enriched", "state", "inbox", "archive")
STATES = ("pending", "collected", "closing", "kept")
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def read(path: str) -> bytes:
    """The whole of a small file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def write(path: str, data: bytes, sync: bool = False) -> None:
    """A new file, fsynced on request."""
    fd = os.open(path, NEW, 0o644)
    try:
        os.write(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def publish(folder: str, name: str, data: bytes) -> None:
    """Write beside, then rename: DESIGN 3.2."""
    part = f"{folder}/.{name}.7f3a.part"
    write(part, data)
    os.rename(part, f"{folder}/{name}")


def marker(name: str, data: bytes) -> bytes:
    """A marker about as long as a real one; formatted, not serialised."""
    digest = hashlib.sha256(data).hexdigest()
    return (
        f'{{"v":1,"exchange":"{name}","original_name":"{name}","size":{len(data)},'
        f'"sha256":"{digest}","created":"2026-01-01T00:00:00Z","attempt":1,'
        f'"sender":{{"host":"localhost","version":"0.0.0"}}}}'
    ).encode()


class Caller:
    """HTTP/1.1 on one kept-alive socket: one send, one receive."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: "

    def __call__(self, body: bytes) -> bytes:
        self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
        reply = self._socket.recv(1 << 16)
        end = reply.index(b"\r\n\r\n") + 4
        while len(reply) - end < len(ANSWER):
            reply += self._socket.recv(1 << 16)
        return reply[end:]


def exchange(root: str, name: str, call: Callable[[bytes], bytes]) -> float:
    """One exchange from outbox to archive. Returns seconds from outbox rename to inbox rename."""
    unenriched, enriched, state = f"{root}/Unenriched", f"{root}/Enriched", f"{root}/state"
    pending, closing = f"{state}/pending/{name}", f"{state}/closing/{name}"
    collected, kept = f"{state}/collected/{name}", f"{state}/kept/{name}"
    began = time.perf_counter()
    os.rename(f"{root}/staged/{name}", f"{root}/outbox/{name}")  # the application's own step

    os.rename(f"{root}/outbox/{name}", pending)  # A takes it and publishes
    payload = read(pending)
    publish(unenriched, name, payload)
    publish(unenriched, f"{name}.done", marker(name, payload))

    read(f"{unenriched}/{name}.done")  # B reads, verifies, enriches, keeps, answers
    payload = read(f"{unenriched}/{name}")
    hashlib.sha256(payload).hexdigest()
    answer = call(payload)
    answer_marker = marker(name, answer)
    write(kept, answer)
    write(f"{kept}.done", answer_marker)
    publish(enriched, name, answer)
    publish(enriched, f"{name}.done", answer_marker)

    read(f"{enriched}/{name}.done")  # A collects and delivers
    result = read(f"{enriched}/{name}")
    hashlib.sha256(result).hexdigest()
    write(collected, result, sync=True)
    os.rename(pending, closing)
    os.rename(collected, f"{root}/inbox/{name}")
    seconds = time.perf_counter() - began
    inbox = os.open(f"{root}/inbox", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(inbox)
    os.close(inbox)
    finish(root, name)
    return seconds


def finish(root: str, name: str) -> None:
    """What follows the delivery: A drops, B drops and forgets, A archives."""
    unenriched, enriched, state = f"{root}/Unenriched", f"{root}/Enriched", f"{root}/state"
    os.unlink(f"{unenriched}/{name}.done")
    os.unlink(f"{unenriched}/{name}")
    os.unlink(f"{enriched}/{name}.done")
    os.unlink(f"{enriched}/{name}")
    os.unlink(f"{state}/kept/{name}")
    os.unlink(f"{state}/kept/{name}.done")
    os.rename(f"{state}/closing/{name}", f"{root}/archive/{name}")


def run(
    root: Path, names: list[str], call: Callable[[bytes], bytes], pause: float
) -> tuple[list[float], float]:
    """All exchanges, one after the other: the seconds of each and of all together."""
    for folder in (*FOLDERS, *(f"state/{each}" for each in STATES), "staged"):
        (root / folder).mkdir()
    for number, name in enumerate(names):
        (root / "staged" / name).write_bytes(request(number))
    began = time.perf_counter()
    each = []
    for name in names:
        each.append(exchange(str(root), name, call))
        if pause:
            time.sleep(pause)
    return each, time.perf_counter() - began


def main() -> None:
    """Run and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--api", default="")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two exchanges")
    options = parser.parse_args()
    names = [f"f{number:06}.json" for number in range(options.files)]
    call = Caller(options.api) if options.api else lambda _: ANSWER
    each, total = run(options.root, names, call, options.pause)
    wrong = sum((options.root / "inbox" / name).read_bytes() != ANSWER for name in names)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu, rss = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    found = {"latencies": each, "seconds": total, "cpu": cpu, "rss": rss, "wrong": wrong}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
