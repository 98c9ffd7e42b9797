"""What a hostile side can make the other one spend, show or overwrite: nothing that counts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from roundtrip.client import EnrichmentFailed
from roundtrip.errors import ExitCode
from roundtrip.protocol.markers import Outcome
from roundtrip.waiting import Result
from tests.fuzz.mutants import mutants
from tests.fuzz.targets import TARGETS
from tests.intake.hosts import Host, Hosts, agents, until
from tests.roles.world import World

ORIGINAL = b"a,b\n1,2\n"
ESCAPES = (
    "\x1b[2J\x1b]0;owned\x07 \u202egpj.exe\r\nroundtrip: all is well [bold red]x[/bold red] \ud800"
)


def digest(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def marker(exchange: str, **fields: Any) -> bytes:
    request = {**digest(ORIGINAL), "attempt": 1}
    good = {"v": 1, "exchange": exchange, "outcome": "enriched", "request": request}
    return json.dumps({**good, **fields}).encode()


@pytest.fixture
async def asking(hosts: Hosts) -> AsyncIterator[Hosts]:
    """Agent A at work; the test plays B."""
    async with agents(hosts, "a"):
        yield hosts
    assert hosts.log.defects == []
    for line in hosts.log.lines:
        assert line.isascii() and line.isprintable()


async def asked(hosts: Hosts, name: str) -> str:
    (hosts.folder / "staged").write_bytes(ORIGINAL)
    (hosts.folder / "staged").rename(hosts.outbox / name)
    found = lambda: [path.stem for path in hosts.unenriched.glob(f"*-{name}.done")]  # noqa: E731
    await until(found, "the request")
    return found()[0]


def place(folder: Path, name: str, content: bytes) -> None:
    (folder / f".{name[:200]}.part").write_bytes(content)
    (folder / f".{name[:200]}.part").rename(folder / name)


async def others_go_on(hosts: Hosts, name: str = "good.csv") -> None:
    """A whole round for another file, the test being B."""
    exchange = await asked(hosts, name)
    place(hosts.enriched, exchange, b"good")
    place(hosts.enriched, f"{exchange}.done", marker(exchange, **digest(b"good")))
    assert await hosts.delivered(name) == b"good"


# What it costs


def used(folder: Path) -> int:
    """Bytes on disk below a folder."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


async def test_an_answer_larger_than_the_disk_is_neither_copied_nor_hashed(asking: Hosts) -> None:
    exchange = await asked(asking, "x.csv")
    with (asking.enriched / exchange).open("wb") as file:
        file.truncate(1 << 43)  # 8 TiB of nothing; its marker says so
    claim = {"size": 1 << 43, "sha256": "0" * 64}
    place(asking.enriched, f"{exchange}.done", marker(exchange, **claim))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    await others_go_on(asking)
    await asyncio.sleep(1)
    assert used(asking.a.root) < 1 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 2
    assert asking.log.of("trouble"), "the operator is told"
    assert "x.csv" not in asking.results()


@pytest.mark.parametrize("change", ["rewritten", "replaced", "cut"])
async def test_what_is_delivered_is_what_was_verified_however_it_changes_meanwhile(
    change: str, asking: Hosts
) -> None:
    promised = os.urandom(1 << 20) * 48
    name = "x.bin"
    exchange = await asked(asking, name)
    payload, copy = asking.enriched / exchange, asking.a.state / "collected" / exchange
    place(asking.enriched, exchange, promised)
    place(asking.enriched, f"{exchange}.done", marker(exchange, **digest(promised)))
    result = asking.inbox / name
    await until(lambda: copy.exists() or result.exists(), "the copy's begin")
    if change == "rewritten":
        with payload.open("r+b") as file:
            file.write(b"evil" * (len(promised) // 4))
    elif change == "cut":
        os.truncate(payload, 100)
    else:
        place(asking.enriched, exchange, b"evil" * (len(promised) // 4))
    refused = lambda: asking.log.of("answer refused", exchange=exchange)  # noqa: E731
    await until(lambda: result.exists() or refused(), "an end")
    assert refused() or result.read_bytes() == promised


async def test_a_flood_of_names_that_are_no_exchange_of_ours_costs_little(asking: Hosts) -> None:
    before = len(asking.log.lines)
    descriptor = os.open(asking.enriched, os.O_RDONLY)
    ulid = "01M7Y0DY3MW0QAM13YJWWJ{:04d}"
    for number in range(4000):
        for name in (
            f"x{number}",
            f"y{number}.done",
            f"{ulid.format(number)}-a",
            f"{ulid.format(number)}-b.done",
            f".x.{number}.progress",
            f".{ulid.format(number)}-a.{number}.progress",
            f" \x1b[2J{number}\n.done",
        ):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        if number % 500 == 0:
            await asyncio.sleep(0)
    os.close(descriptor)
    await others_go_on(asking)
    await asyncio.sleep(1)  # The time of grace for broken states is over, too.
    await others_go_on(asking, "later.csv")
    lines = [json.loads(line)["event"] for line in asking.log.lines[before:]]
    assert len(lines) < 100, {event: lines.count(event) for event in set(lines)}
    assert sorted(asking.results()) == ["good.csv", "later.csv"]


async def test_names_that_b_alone_has_put_there_are_neither_looked_at_nor_remembered() -> None:
    world = World()
    names = {f"01M7Y0DY3MW0QAM13YJWWJ{number:04d}-x" for number in range(9)}
    for name in names:
        world.files("enriched")[f"{name}.done"] = b""  # a broken state, which is given its time
    world.start("a")
    requester = world.roles["a"]
    await requester.start()
    assert await requester.rescan() == []
    for name in names:
        assert await requester.look(name) is None
        assert not requester.is_broken(name)


async def test_a_flood_of_life_signs_is_neither_read_nor_removed_in_one_go(hosts: Hosts) -> None:
    internal = hosts.enriched / ".roundtrip"
    for number in range(3000):
        (internal / f"alive-b-01M7Y0DY3MW0QAM13YJWWJ{number:04d}.json").write_text("[" * 100)
    done = await asyncio.to_thread(hosts.a.run, "status", "--json")
    assert done.returncode == 0, done.stderr
    async with agents(hosts):
        (hosts.folder / "staged").write_bytes(b"x")
        (hosts.folder / "staged").rename(hosts.outbox / "x.txt")
        assert await hosts.delivered("x.txt") == b"x"


# What it may overwrite


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "device", "folder's symlink"])
@pytest.mark.needs("root", "mknod")
def test_an_agents_lock_in_a_share_never_becomes_another_file(kind: str, hosts: Hosts) -> None:
    """The lock lies where B can write, and is overwritten at each start."""
    precious = hosts.a.root / "precious"
    precious.write_text("precious")
    lock = hosts.enriched / ".roundtrip" / "agent-a.lock"
    lock.unlink(missing_ok=True)
    if kind == "symlink":
        lock.symlink_to(precious)
    elif kind == "hard link":
        os.link(precious, lock)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "device":
        subprocess.run(["mknod", lock, "c", "1", "3"], check=True)
    else:
        folder = hosts.a.root / "elsewhere"
        shutil.move(lock.parent, folder)
        lock.parent.symlink_to(folder)
        (folder / "agent-a.lock").write_text("precious")
        precious = folder / "agent-a.lock"
    done = hosts.a.run("agent", "--once")
    assert done.returncode == ExitCode.SHARE, done.stderr
    assert "Traceback" not in done.stderr
    assert precious.read_text() == "precious"


@contextlib.contextmanager
def nothing_new_around(hosts: Hosts) -> Iterator[None]:
    """No name appears beside the two hosts' folders, nor in their roots."""

    def around() -> set[str]:
        names = {f"{path}" for path in hosts.folder.parent.rglob("*") if path.is_dir()}
        return {name for name in names if "Enriched" not in name and "Unenriched" not in name}

    before, listed = around(), set(os.listdir(hosts.folder))
    yield
    assert around() == before
    assert set(os.listdir(hosts.folder)) - {"staged"} == listed - {"staged"}


async def test_mutated_requests_write_nothing_outside_the_folders(hosts: Hosts) -> None:
    seed = TARGETS["request-marker"].seeds[0]
    good = json.loads(seed) | {**digest(ORIGINAL)}
    good.pop("exchange")
    async with agents(hosts, "b"):
        with nothing_new_around(hosts):
            for number, content in enumerate(islice(mutants(json.dumps(good).encode(), 5), 400)):
                place(hosts.unenriched, f"m{number}", ORIGINAL)
                place(hosts.unenriched, f"m{number}.done", content)
            answers = lambda: len(list(hosts.enriched.glob("m*.done")))  # noqa: E731
            await until(lambda: answers() == 400, "an answer to each")
    assert hosts.log.defects == []
    for path in hosts.enriched.glob("m*.done"):
        assert json.loads(path.read_bytes())["outcome"] in set(Outcome)


async def test_mutated_answers_write_nothing_outside_the_folders(asking: Hosts) -> None:
    result = b"result"
    with nothing_new_around(asking):
        exchanges = [await asked(asking, f"m{number}.csv") for number in range(40)]
        for number, exchange in enumerate(exchanges):
            good = marker(exchange, **digest(result), stats={"ok": 1}, responder={"host": "b"})
            place(asking.enriched, exchange, result)
            content = next(mutants(good, 1000 + number))
            place(asking.enriched, f"{exchange}.done", content)
        await until(
            lambda: all(
                asking.log.of("answer refused", exchange=each)
                or asking.log.of("delivered", exchange=each)
                or asking.log.of("answer held", exchange=each)
                for each in exchanges
            ),
            "a verdict on each",
        )
    delivered = asking.results()
    assert set(delivered.values()) <= {result}
    assert set(delivered) <= {f"m{number}.csv" for number in range(40)}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "", "a\0b", "x" * 5000, "\ud800"])
async def test_a_client_hands_in_no_name_that_leads_elsewhere(name: str, hosts: Hosts) -> None:
    import io

    from roundtrip.client import AsyncClient
    from roundtrip.errors import InputError

    with pytest.raises(InputError, match="can't be a file's name"):
        await AsyncClient(hosts.a.config).submit_stream(io.BytesIO(b"x"), name)
    assert os.listdir(hosts.a.state / "submit") == []


# What it may show


def shown(host: Host, *words: str) -> str:
    """Run a command whose output a terminal would get; nothing in it may talk to the terminal."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    done = subprocess.run(host.command(*words), capture_output=True, env=environment, check=False)
    text = (done.stdout + done.stderr).decode()
    assert "Traceback" not in text
    odd = {letter for letter in text if not letter.isprintable()} - {"\n"}
    assert not odd, (odd, text)
    return text


SIGNS: dict[str, Any] = {
    "escapes": dict.fromkeys(["version", "host", "started", "time", "role", ESCAPES], ESCAPES),
    "wrong types": {"time": "2026-11-21T10:00:00Z", "version": [[1]], "host": {"a": 1}, "role": 7,
                    "per_minute": "x", "pid": None, "done": [], "features": {"a": 1}},
    "huge numbers": {"time": "2026-11-21T10:00:00Z", "per_minute": 10**300, "pid": -(10**300),
                     "done": 1e308, "pending": 10**400},
    "no such time": {"time": "0001-01-01T00:00:00+23:59", "host": "b"},
    "far future": {"time": "9999-12-31T23:59:59-23:59", "host": "b"},
    "local time": {"time": "2026-11-21T10:00:00", "host": "b"},
    "long": {"time": "2026-11-21T10:00:00Z", "host": "x" * 60_000},
    "many": {"time": "2026-11-21T10:00:00Z", **{f"k{number}": number for number in range(4000)}},
}  # fmt: skip


@pytest.mark.parametrize("kind", SIGNS)
def test_status_shows_a_hostile_life_sign_without_harm(kind: str, hosts: Hosts) -> None:
    internal = hosts.enriched / ".roundtrip"
    text = json.dumps({"v": 1, **SIGNS[kind]})
    (internal / "alive-b-01M7Y0DY3MW0QAM13YJWWJ9AFZ.json").write_text(text)
    said = shown(hosts.a, "status")
    assert "peer" in said and len(said) < 5000
    json.loads(shown(hosts.a, "status", "--json"), parse_constant=pytest.fail)


@pytest.mark.parametrize("content", [b"NaN", b"[" * 900, b'{"time": NaN}', b"\xff", b""])
def test_status_takes_no_notice_of_what_is_no_life_sign(content: bytes, hosts: Hosts) -> None:
    sign = hosts.enriched / ".roundtrip" / "alive-b-01M7Y0DY3MW0QAM13YJWWJ9AFZ.json"
    sign.write_bytes(content)
    assert "none seen" in shown(hosts.a, "status")


IDENTITIES: dict[str, Callable[[Path], object]] = {
    "escapes": lambda path: path.write_text(json.dumps({"id": ESCAPES, "home": ESCAPES})),
    "home with escapes": lambda path: path.write_text(json.dumps({"id": "x", "home": ESCAPES})),
    "a long id": lambda path: path.write_text(json.dumps({"id": "x" * 9999, "home": "b"})),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "deep": lambda path: path.write_bytes(b'{"id":' * 10_000),
    "8 TiB": lambda path: os.truncate(path, 1 << 43),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "device": lambda path: (path.unlink(), os.mknod(path, 0o020666, os.makedev(1, 5))),
    "endless link": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
}


@pytest.mark.needs("root")
@pytest.mark.parametrize("kind", IDENTITIES)
def test_an_odd_identity_is_one_clear_line(kind: str, hosts: Hosts) -> None:
    IDENTITIES[kind](hosts.unenriched / ".roundtrip" / "share.json")
    done = hosts.a.run("agent", "--once")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == ExitCode.SHARE
    assert len(lines) == 1 and lines[0].isprintable() and "share.json" in lines[0], lines
    assert len(lines[0]) < 600
    shown(hosts.a, "status")


@pytest.mark.parametrize("kind", ["symlink", "file", "loop"])
def test_an_internal_folder_that_is_none_is_refused(kind: str, hosts: Hosts) -> None:
    internal = hosts.unenriched / ".roundtrip"
    internal.rename(hosts.folder / "elsewhere")
    if kind == "symlink":
        internal.symlink_to(hosts.folder / "elsewhere")
    elif kind == "loop":
        internal.symlink_to(internal.name)
    else:
        internal.write_text("")
    done = hosts.a.run("agent", "--once")
    assert done.returncode == ExitCode.SHARE and "Traceback" not in done.stderr
    shown(hosts.a, "status")


PROBLEM = json.dumps({"type": ESCAPES, "title": ESCAPES, "detail": ESCAPES, "status": "x"}).encode()


def test_a_clients_error_has_nothing_for_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(PROBLEM)
    result = Result("x", Outcome.FAILED, tmp_path / "x")
    error = EnrichmentFailed(result, result.problem())
    assert str(error).isprintable()
    assert "all is well" in str(error)


def test_a_problem_document_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(1 << 40)
    assert Result("x", Outcome.FAILED, tmp_path / "x").problem().kind == "unreadable"


async def test_send_shows_a_failure_without_harm(asking: Hosts) -> None:
    (asking.folder / "x.csv").write_bytes(ORIGINAL)
    words = ("send", "--wait", str(asking.folder / "x.csv"))
    sending = asyncio.create_task(asyncio.to_thread(shown, asking.a, *words))
    found = lambda: [path.stem for path in asking.unenriched.glob("*-x.csv.done")]  # noqa: E731
    await until(found, "the request")
    exchange = found()[0]
    place(asking.enriched, exchange, PROBLEM)
    content = marker(exchange, outcome="failed", **digest(PROBLEM), responder={"host": ESCAPES})
    place(asking.enriched, f"{exchange}.done", content)
    assert "all is well" in await sending


async def test_reports_of_hostile_names_are_shown_without_harm(hosts: Hosts) -> None:
    names = ["\x1b[2J", "a\nroundtrip: all is well", "\u202egpj.exe", os.fsdecode(b"\xff\xfe")]
    async with agents(hosts, "b"):
        for name in names:
            (hosts.unenriched / f"{name}.done").touch()
        await until(lambda: len(os.listdir(hosts.b.quarantine)) >= len(names), "the reports")
    text = shown(hosts.b, "quarantine", "list")
    assert text.count("\n") <= 2 * len(names) + 2
    shown(hosts.b, "status")
