"""The queue on a real disk: no hard links, what commands see, what doctor says."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from roundtrip.config import load
from roundtrip.deliver.entry import Entry, decode
from roundtrip.deliver.settings import DeliverySettings, ExecSettings
from roundtrip.deliver.shelf import Shelf
from roundtrip.doctor import deliveries
from roundtrip.places import Places
from roundtrip.protocol.markers import Digest, Outcome, ResponseMarker
from roundtrip.queues import queues
from roundtrip.roles.outgoing import Lane, Outgoing
from roundtrip.roles.ticket import Ticket
from roundtrip.shares.posix import PosixFolder
from tests.deliver.postbox import PASSWORD, USER, free_port, post_office

EXCHANGE = "01ARZ3NDEKTSV4RRFFQ69G5FAV-orders.json"


class Folders:
    """A's own folders of one delivery, for real."""

    def __init__(self, root: Path) -> None:
        for name in ("collected", "due/dead"):
            (root / name).mkdir(parents=True)
        self.collected = PosixFolder(root / "collected")
        self.due, self.dead = PosixFolder(root / "due"), PosixFolder(root / "due/dead")
        self.pushed: list[str] = []
        settings = DeliverySettings("tell", ExecSettings(("true",)))
        lane = Lane(settings, self.due, Shelf(self.due, self.dead), self.pushed.append)
        self.outgoing = Outgoing([lane])


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


async def sent(folders: Folders, **ticket: Any) -> Entry:
    """What is written of an exchange."""
    digest = Digest(7, "0" * 64)
    marker = ResponseMarker(EXCHANGE, Outcome.PARTIAL, digest, digest, 1, {"records": 2},
                            {"pipeline": "invoices"}, "2026-11-21T10:00:01.000Z")  # fmt: skip
    sending = await folders.outgoing.sending(
        EXCHANGE, (folders.collected, EXCHANGE), Outcome.PARTIAL, marker,
        Ticket("orders.json", **ticket), None,
    )  # fmt: skip
    assert sending is not None
    await sending.write("/inbox/orders.json")
    sending.push()
    return decode(await folders.due.read(f"{EXCHANGE}.json", 1 << 20), EXCHANGE)


async def test_an_entry_says_all_that_is_known(folders: Folders) -> None:
    await folders.collected.put(EXCHANGE, b"content")
    entry = await sent(folders, mail="you@example.org")
    assert folders.pushed == [EXCHANGE]
    assert (entry.outcome, entry.pipeline, entry.path) == (
        "partial", "invoices", "/inbox/orders.json",
    )  # fmt: skip
    assert (entry.size, entry.sha256, entry.stats) == (7, "0" * 64, {"records": 2})
    assert entry.created == "2016-07-30T23:54:10.259Z"
    assert entry.ended == "2026-11-21T10:00:01.000Z"
    assert entry.mail == "you@example.org"


async def test_the_content_is_the_same_file(folders: Folders) -> None:
    await folders.collected.put(EXCHANGE, b"content")
    await sent(folders)
    content = folders.due.path / f"~{EXCHANGE}"
    assert content.samefile(folders.collected.path / EXCHANGE)
    await sent(folders)  # An earlier life has done it already.
    assert content.read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
async def test_where_there_are_no_hard_links_a_copy_is_made(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    await folders.collected.put(EXCHANGE, b"content")
    await sent(folders)
    content = folders.due.path / f"~{EXCHANGE}"
    assert content.read_bytes() == b"content"
    assert not content.samefile(folders.collected.path / EXCHANGE)


async def test_a_disk_that_is_full_is_told_to_the_role(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    await folders.collected.put(EXCHANGE, b"content")
    with pytest.raises(OSError, match="No space left"):
        await sent(folders)
    assert folders.pushed == []


def configured(tmp_path: Path, deliver: dict[str, Any], **more: Any) -> Any:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(json.dumps({"role": "a", "deliver": deliver, **more}))
    return load(file)


def queue_up(tmp_path: Path, delivery: str, *, dead: bool) -> None:
    folder = tmp_path / "state/deliveries" / delivery
    (folder / "dead").mkdir(parents=True)
    entry = Entry(EXCHANGE, "enriched", "orders.json", "/inbox/orders.json", 7, "", "", "", 1.0,
                  attempts=3, error="not now")  # fmt: skip
    (folder / ("dead" if dead else "") / f"{EXCHANGE}.json").write_bytes(entry.encode())


def test_doctor_looks_at_programs_servers_and_queues(tmp_path: Path) -> None:
    queue_up(tmp_path, "gone", dead=False)
    queue_up(tmp_path, "fine", dead=True)
    settings = configured(
        tmp_path,
        {
            "fine": {"exec": ["true"]},
            "lost": {"exec": ["/nowhere/at/all"]},
            "shop": {"http": f"http://127.0.0.1:{free_port()}/"},
        },
    )
    found = [
        (each.key, each.severity, each.text) for each in deliveries.look(settings, offline=False)
    ]
    said = {(key, severity) for key, severity, _ in found}
    assert said == {
        ("delivery-program", "ok"), ("delivery-program", "warning"),
        ("delivery-server", "warning"), ("delivery-queue", "warning"),
    }  # fmt: skip
    assert [key for key, severity, _ in found if severity == "warning"].count("delivery-queue") == 2
    texts = "\n".join(text for _, _, text in found)
    assert "lost: no program /nowhere/at/all" in texts
    assert "Connection refused" in texts
    assert "fine: 0 due, 0 of them failing, 1 dead; the last error: not now" in texts
    assert "gone: not configured any more, 1 due" in texts
    offline = deliveries.look(settings, offline=True)
    assert "delivery-server" not in {each.key for each in offline}


def test_doctor_connects_to_the_proxy_where_a_webhook_has_one(tmp_path: Path) -> None:
    proxies = {
        "plain": "http://proxy.example.org",
        "login": "http://u:${HUSH}@other.example.org:3128",
        "named": "http://${HUSH}:3128",
    }
    hooks = {
        name: {"http": {"url": "https://shop.example.org/", "proxy": proxy}}
        for name, proxy in proxies.items()
    }
    config = tmp_path / "roundtrip.yaml"
    config.write_text(json.dumps({"role": "a", "deliver": hooks}))
    found = deliveries.targets(load(config, secrets="named"))
    assert found == {("proxy.example.org", 80): "plain", ("other.example.org", 3128): "login"}


@pytest.mark.parametrize(
    ("given", "severity", "said"),
    [
        (
            {},
            "ok",
            "takes connections, starttls with a certificate that is believed, takes the login",
        ),
        ({"ca": None}, "warning", "certificate verify failed"),
        ({"password": "geraten"}, "warning", "535"),
        ({"password": "${NOWHERE}"}, "ok", "no login tried without its secret"),
        ({"tls": "tls"}, "warning", ""),
        ({"ca": "/nowhere.pem"}, "warning", "mail.ca: /nowhere.pem: No such file"),
    ],
)
def test_doctor_greets_a_mail_server_as_for_a_mail(
    tmp_path: Path, given: dict[str, Any], severity: str, said: str
) -> None:
    with post_office(tmp_path, tls="starttls", login=True) as office:
        mail = {"server": "localhost", "port": office.port, "from": "rt@example.org",
                "user": USER, "password": PASSWORD, "ca": str(office.ca), **given}  # fmt: skip
        config = tmp_path / "roundtrip.yaml"
        config.write_text(json.dumps({"role": "a", "mail": mail}))
        settings = load(config, secrets="named" if "NOWHERE" in mail["password"] else "filled")
        found = deliveries.look(settings, offline=False)
        assert office.box.envelopes == []
    (server,) = [each for each in found if each.key == "delivery-server"]
    assert server.severity == severity
    assert server.text.startswith(f"reply: localhost:{office.port}")
    assert said in server.text and "localhost: " not in server.text.split(" ", 2)[2]
    assert PASSWORD not in server.text and "geraten" not in server.text


def test_doctor_says_that_a_mail_server_offers_no_encryption(tmp_path: Path) -> None:
    with post_office(tmp_path) as office:
        mail = {"server": "localhost", "port": office.port, "from": "rt@example.org"}
        found = deliveries.look(configured(tmp_path, {}, mail=mail), offline=False)
    (server,) = [each for each in found if each.key == "delivery-server"]
    assert (server.severity, "STARTTLS" in server.text) == ("warning", True)


def test_a_queue_that_was_never_used_is_no_queue(tmp_path: Path) -> None:
    settings = configured(tmp_path, {"tell": {"exec": ["true"]}})
    assert list(queues(settings, Places(settings))) == []


def test_an_entry_that_cannot_be_read_is_listed_and_can_be_dropped(tmp_path: Path) -> None:
    queue_up(tmp_path, "tell", dead=False)
    settings = configured(tmp_path, {"tell": {"exec": ["true"]}})
    file = tmp_path / "state/deliveries/tell" / f"{EXCHANGE}.json"
    file.write_bytes(b'{"half')
    (queue,) = queues(settings, Places(settings))
    (item,) = asyncio.run(queue.items())
    assert item.entry is None
    asyncio.run(queue.drop(item))
    assert not file.exists()


async def test_the_longest_marker_of_a_hostile_peer_makes_an_entry_that_can_be_read(
    folders: Folders,
) -> None:
    await folders.collected.put(EXCHANGE, b"content")
    digest = Digest(7, "0" * 64)
    stats = {"\U0001f600" * 15_000: 1.0}
    marker = ResponseMarker(EXCHANGE, Outcome.ENRICHED, digest, digest, 1, stats)
    assert len(json.dumps(stats, ensure_ascii=False).encode()) < 64 * 1024
    sending = await folders.outgoing.sending(
        EXCHANGE, (folders.collected, EXCHANGE), Outcome.ENRICHED, marker,
        Ticket("\udcff" * 255), None,
    )  # fmt: skip
    assert sending is not None
    await sending.write("/inbox/" + "\udcff" * 255)
    entry = await Shelf(folders.due, folders.dead).read(EXCHANGE)
    assert entry is not None
    assert entry.stats == stats
    assert entry.original_name == "\udcff" * 255
