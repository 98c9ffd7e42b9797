"""The specification says what the code does: its examples, its tables, its ten-line requester."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roundtrip.protocol import names
from roundtrip.protocol.markers import Outcome, RequestMarker, ResponseMarker
from roundtrip.protocol.problem import MEDIA_TYPE, Problem
from roundtrip.protocol.states import Role, State
from roundtrip.roles.problems import DEADLINE
from roundtrip.shares.heartbeat import last_beat
from roundtrip.shares.identity import identify
from roundtrip.shares.memory import MemoryDisk

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/reference/protocol.md").read_text()


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.M | re.S)
    assert match, f"no section {title!r}"
    return match[1]


def example(title: str) -> bytes:
    (found,) = re.findall(r"^```json\n(.*?)^```$", section(title), re.M | re.S)
    return str(found).encode()


def keys(title: str, table: int = 0) -> list[str]:
    """The keys in the first column of one of the section's tables."""
    rows = re.findall(r"^\|---.*\n((?:\|.*\n)+)", section(title), re.M)[table]
    cells = re.findall(r"^\| (`[^|]*) \| ", rows, re.M)
    return [key for cell in cells for key in re.findall(r"`([a-z0-9_.-]+)`", cell)]


def test_the_example_of_a_requests_marker_has_every_key_and_is_read() -> None:
    content = example("The request's marker")
    fields = json.loads(content)
    marker = RequestMarker.decode(content, fields["exchange"])
    assert json.loads(marker.encode()) == fields
    assert sorted(keys("The request's marker")) == sorted(fields)


def test_the_example_of_a_responses_marker_has_every_key_and_is_read() -> None:
    content = example("The response's marker")
    fields = json.loads(content)
    marker = ResponseMarker.decode(content, fields["exchange"])
    assert json.loads(marker.encode()) == fields
    inner = [f"request.{key}" for key in fields.pop("request")]
    assert sorted(keys("The response's marker")) == sorted([*fields, *inner])
    assert keys("The response's marker", 1) == list(Outcome)


def test_the_example_of_a_problem_document_is_one() -> None:
    content = example("Problem documents")
    problem = Problem.decode(content, json.loads(content)["instance"])
    assert problem.encode() == content
    assert MEDIA_TYPE in section("Problem documents")


def test_every_problem_that_the_roles_make_is_listed() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "roundtrip/roles").glob("*.py")]
    calls = r'(?:Problem\(|_refusal\(\s*exchange,|_refusal\(exchange,)\s*"([a-z-]+)"'
    made = {kind for source in sources for kind in re.findall(calls, source)} | {DEADLINE}
    assert made == set(keys("Problem documents"))


async def test_the_example_of_an_identity_is_read() -> None:
    internal = MemoryDisk().folder("share/.roundtrip")
    await internal.put("share.json", example("The share's identity"))
    found = await identify(internal)
    assert found is not None and found.home == "b"


async def test_the_example_of_a_life_sign_is_read() -> None:
    folder = MemoryDisk().folder("internal")
    name = "alive-b-01M7Y0SJTWCSBHSH5TTGQC0Y45.json"
    await folder.put(name, example("Life signs"))
    sign = await last_beat(folder, Role.RESPONDER)
    assert sign is not None and sign.fields == json.loads(example("Life signs"))


def test_the_grammar_is_printed_as_it_is() -> None:
    assert f"`{names._EXCHANGE.pattern}`" in section("Names")


def test_every_state_is_in_the_table_and_all_but_broken_in_the_diagram() -> None:
    (table,) = re.findall(r"generated: states -->\n(.*?)<!-- end", PAGE, re.S)
    (diagram,) = re.findall(r"generated: diagram -->\n(.*?)<!-- end", PAGE, re.S)
    assert len(table.splitlines()) == 2 + 16
    for state in State:
        assert f"| {state} |" in table
        assert (re.search(rf"\b{state}\b", diagram) is not None) == (state is not State.BROKEN)


def test_the_generated_parts_are_up_to_date() -> None:
    command: list[str | Path] = [sys.executable, REPOSITORY / "scripts/docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# The ten-line requester, with a responder as the page tells how to write one. Against our agent it
# is run in tests/e2e.


class Responder:
    """Answers with the payload in upper case, as `A responder of your own` says."""

    def __init__(self, folder: Path) -> None:
        self.unenriched, self.enriched = folder / "Unenriched", folder / "Enriched"
        for share in (self.unenriched, self.enriched):
            (share / ".roundtrip").mkdir(parents=True)
            (share / ".roundtrip/share.json").touch()
        self.asked: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def left(self) -> list[str]:
        shares = (self.unenriched, self.enriched)
        return [path.name for share in shares for path in share.glob("[!.]*")]

    def _serve(self) -> None:
        while not self._stop.wait(0.02):
            for marker in self.unenriched.glob("*.done"):
                if not (self.enriched / marker.name).exists():
                    self._answer(marker.name.removesuffix(".done"))
            for answer in self.enriched.glob("*.done"):
                exchange = answer.name.removesuffix(".done")
                if not (self.unenriched / exchange).exists():
                    answer.unlink()
                    (self.enriched / exchange).unlink()

    def _answer(self, exchange: str) -> None:
        content = (self.unenriched / exchange).read_bytes()
        answer = content.upper()
        self.asked.append(exchange)
        fields = {"v": 1, "outcome": "enriched", **_digest(answer), "request": _digest(content)}
        (self.enriched / exchange).write_bytes(answer)
        part = self.enriched / f".{exchange}.part"
        part.write_text(json.dumps(fields))
        ResponseMarker.decode(part.read_bytes(), exchange)
        part.rename(self.enriched / f"{exchange}.done")


def _digest(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def responder(tmp_path: Path) -> Iterator[Responder]:
    made = Responder(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    pattern = r"^```sh\n(# ten-line requester\n.*?)^```$"
    (text,) = re.findall(pattern, PAGE, re.M | re.S)
    assert 1 <= len(text.splitlines()) - 1 <= 10
    path = tmp_path / "requester.sh"
    path.write_text(text)
    return path


def run(script: Path, responder: Responder, file: str | bytes) -> subprocess.Popen[bytes]:
    where = {
        "UNENRICHED": os.fspath(responder.unenriched),
        "ENRICHED": os.fspath(responder.enriched),
    }
    return subprocess.Popen(
        ["sh", script, file],
        env=os.environ | where,
        cwd=script.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


FILES = [
    b"orders.csv",
    b"my orders (2).csv",
    b"-rf",
    b"a\nb.csv",
    "заказы.csv".encode(),
    b"caf\xe9.csv",
    b"orders.done",
    b"x" * 250 + b".csv",
]


def test_the_ten_lines_send_a_file_whatever_it_is_called(
    script: Path, responder: Responder, tmp_path: Path
) -> None:
    responder.start()
    started = []
    for number, file in enumerate(FILES):
        (tmp_path / os.fsdecode(file)).write_text(f"file number {number}")
        started.append(run(script, responder, file))
    for number, process in enumerate(started):
        answer, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")
        assert answer == f"FILE NUMBER {number}".encode()
    assert len(set(responder.asked)) == len(FILES)
    assert all(names.is_exchange(exchange) for exchange in responder.asked)
    assert sum(exchange.endswith(".csv") for exchange in responder.asked) == 6
    _wait_until(lambda: responder.left() == [])


def _wait_until(condition: Any) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_the_ten_lines_take_their_request_back_when_they_are_interrupted(
    script: Path, responder: Responder, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("x")
    process = run(script, responder, "orders.csv")
    _wait_until(lambda: any(name.endswith(".done") for name in responder.left()))
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert responder.left() == []


def test_the_ten_lines_end_when_their_request_is_taken_away(
    script: Path, responder: Responder, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("x")
    process = run(script, responder, "orders.csv")
    _wait_until(lambda: any(name.endswith(".done") for name in responder.left()))
    for marker in responder.unenriched.glob("*.done"):
        marker.unlink()
    assert process.wait(timeout=30) != 0
    assert responder.left() == []


def test_the_ten_lines_write_nothing_where_no_share_is_mounted(
    script: Path, responder: Responder, tmp_path: Path
) -> None:
    (tmp_path / "orders.csv").write_text("x")
    (responder.unenriched / ".roundtrip/share.json").unlink()
    process = run(script, responder, "orders.csv")
    assert process.wait(timeout=30) == 1
    assert responder.left() == []
