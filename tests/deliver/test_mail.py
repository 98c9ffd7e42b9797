"""Mail, to a real SMTP server."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roundtrip.deliver.mail import Mail
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import (
    DeliverySettings,
    FieldSettings,
    Lookup,
    MailSettings,
    Server,
)
from tests.deliver.parcels import parcel_of
from tests.deliver.postbox import PASSWORD, USER, Listening, post_office

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 300 + b"\r\n.\r\n\n.\n%%EOF"


def server_of(office: Listening, **more: Any) -> Server:
    found = Server("localhost", office.port, tls="none", sender="rt@example.org", ca=str(office.ca))
    return replace(found, **more)


def mailer(
    server: Server, fields: FieldSettings | None = None, timeout: float = 20.0, **more: Any
) -> Mail:
    action = MailSettings(server, **{"to": ("you@example.org",), **more})
    settings = DeliverySettings("tell", action, fields=fields or FieldSettings(), timeout=timeout)
    return Mail(settings, action)


async def failure(made: Mail, parcel: Parcel) -> Undelivered:
    with pytest.raises(Undelivered) as told:
        await made.deliver(parcel)
    assert "\n" not in told.value.text
    return told.value


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
async def test_a_pdf_arrives_byte_for_byte(tmp_path: Path, tls: str) -> None:
    parcel = parcel_of(tmp_path, PDF, name="Rechnung für Ödön №5.pdf")
    with post_office(tmp_path, tls=tls) as office:
        await mailer(server_of(office, tls=tls)).deliver(parcel)
        assert office.box.tls == [tls != "none"]
        (mail,) = office.box.mails
    (attached,) = mail.iter_attachments()
    assert attached.get_content() == PDF
    assert attached.get_content_type() == "application/pdf"
    assert attached.get_filename() == "Rechnung für Ödön №5.pdf"
    assert mail["From"] == "rt@example.org"
    assert mail["To"] == "you@example.org"
    assert mail["Subject"] == "Rechnung für Ödön №5.pdf: enriched"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Roundtrip-Id"] == parcel.id


@pytest.mark.parametrize("name", ["one.csv", "one.eml", "one", "one.tar.gz", "one.html"])
async def test_any_file_arrives_byte_for_byte(tmp_path: Path, name: str) -> None:
    content = b"From x\n.\n..\r\n\xff\x00 a,b\r1,2\n" + b"y" * 2000
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(parcel_of(tmp_path, content, name=name))
        (attached,) = office.box.mails[0].iter_attachments()
    assert attached.get_payload(decode=True) == content


async def test_who_logs_in_may_send_and_who_does_not_may_not(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"x")
    with post_office(tmp_path, tls="starttls", login=True) as office:
        server = server_of(office, tls="starttls", user=USER, password=PASSWORD)
        await mailer(server).deliver(parcel)
        assert len(office.box.mails) == 1
        wrong = await failure(mailer(replace(server, password="geraten")), parcel)
        assert (wrong.passing, wrong.away) == (True, True)
        assert "535" in wrong.text
        assert "geraten" not in wrong.text
        nobody = await failure(mailer(replace(server, user=None)), parcel)
        assert (nobody.passing, nobody.away) == (True, True)


async def test_nothing_is_sent_in_clear_where_tls_is_asked_for(tmp_path: Path) -> None:
    with post_office(tmp_path, tls="none") as office:
        told = await failure(mailer(server_of(office, tls="starttls")), parcel_of(tmp_path, b"x"))
        assert office.box.mails == []
    assert (told.passing, told.away) == (True, True)
    assert "STARTTLS" in told.text


async def test_a_server_whose_certificate_is_not_believed_gets_nothing(tmp_path: Path) -> None:
    with post_office(tmp_path, tls="starttls") as office:
        server = server_of(office, tls="starttls", ca=None)
        told = await failure(mailer(server), parcel_of(tmp_path, b"x"))
        assert office.box.mails == []
    assert told.away
    assert "certificate" in told.text


@pytest.mark.parametrize(
    ("command", "answer", "passing"),
    [
        ("RCPT", "550 5.1.1 no such mailbox", False),
        ("RCPT", "450 4.2.0 greylisted, come back", True),
        ("DATA", "554 5.6.0 not wanted", False),
        ("DATA", "452 4.3.1 no room now", True),
    ],
)
async def test_what_a_server_refuses_for_good_is_told_from_what_it_refuses_for_now(
    tmp_path: Path, command: str, answer: str, passing: bool
) -> None:
    with post_office(tmp_path) as office:
        office.box.refuse = lambda said, argument: answer if said == command else None
        told = await failure(mailer(server_of(office)), parcel_of(tmp_path, b"x"))
    assert (told.passing, told.away) == (passing, False)
    assert answer.partition(" ")[2] in told.text


async def test_of_several_recipients_those_are_served_who_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(tmp_path) as office:
        office.box.refuse = lambda said, to: "550 gone" if to.startswith("b") else None
        made = mailer(server_of(office), to=("a@example.org", "b@example.org"))
        await made.deliver(parcel_of(tmp_path, b"x"))
        assert office.box.envelopes[0].rcpt_tos == ["a@example.org"]
    assert "recipients refused" in caplog.text


async def test_a_server_that_is_not_there_is_away(tmp_path: Path) -> None:
    with post_office(tmp_path) as office:
        server = server_of(office)
    told = await failure(mailer(server), parcel_of(tmp_path, b"x"))
    assert (told.passing, told.away) == (True, True)


async def test_each_attempt_has_the_same_message_id_and_each_delivery_another(
    tmp_path: Path,
) -> None:
    parcel = parcel_of(tmp_path, b"x")
    with post_office(tmp_path) as office:
        made = mailer(server_of(office))
        for each in (parcel, replace(parcel, attempt=2), replace(parcel, delivery="other")):
            await made.deliver(each)
        first, again, other = [mail["Message-ID"] for mail in office.box.mails]
    assert first == again != other
    assert first.endswith("@example.org>")


async def test_the_address_comes_from_the_name_and_a_table(tmp_path: Path) -> None:
    """An invoice arrives, and goes to its customer's address at once."""
    table = tmp_path / "customers.csv"
    table.write_text("number,email,name\n4711,kunde@example.org,Jürgen\n")
    fields = FieldSettings(
        r"(?P<customer>[^_]+)_.*\.pdf", Lookup(table, "{customer}", "number"), record=False
    )
    with post_office(tmp_path) as office:
        made = mailer(
            server_of(office), fields, to=("{email}",), subject="Invoice for {name}",
            text="Dear {number}\n",
        )  # fmt: skip
        await made.deliver(parcel_of(tmp_path, PDF, name="4711_2026-11.pdf"))
        (mail,) = office.box.mails
        assert office.box.envelopes[0].rcpt_tos == ["kunde@example.org"]
        assert mail["To"] == "kunde@example.org"
        assert mail["Subject"] == "Invoice for 4711_2026-11.pdf", "the file's own fields go first"
        body = mail.get_body()
        assert body is not None
        assert body.get_content().splitlines() == ["Dear 4711"]
        unknown = await failure(made, parcel_of(tmp_path, PDF, name="4712_2026-11.pdf"))
        assert unknown.passing, "somebody may add the row"
        assert "4712" in unknown.text
        table.write_text("number,email,name\n4712,neu@example.org,Neu\n")
        await made.deliver(parcel_of(tmp_path, PDF, name="4712_2026-11.pdf"))
        assert office.box.envelopes[1].rcpt_tos == ["neu@example.org"]
        other = await failure(made, parcel_of(tmp_path, PDF, name="nothing.pdf"))
        assert not other.passing
        assert "customer" in other.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one.csv", b"\xef\xbb\xbfid;email\n1;kunde@example.org\n2;other@example.org\n"),
        ("one.tsv", b"id\temail\n1\tkunde@example.org\n"),
        ("one.json", b'[{"email": "kunde@example.org"}, {"email": "other@example.org"}]'),
        ("one.JSONL", b'{"email": "kunde@example.org"}\n{"email": "other@example.org"}\n'),
    ],
)
async def test_the_address_comes_from_the_first_record(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with post_office(tmp_path) as office:
        made = mailer(server_of(office), to=("{email}",))
        await made.deliver(parcel_of(tmp_path, content, name=name))
        assert office.box.envelopes[0].rcpt_tos == ["kunde@example.org"]


@pytest.mark.parametrize(
    "evil",
    [
        "a@example.org\nBcc: all@example.org",
        "a@example.org, b@example.org",
        "a@example.org> SIZE=1",
        "A <a@example.org>",
        "-oX@example.org",
        "nobody",
        "a@example.org\u2028b",
    ],
)
async def test_a_record_cannot_choose_more_than_one_plain_address(
    tmp_path: Path, evil: str
) -> None:
    with post_office(tmp_path) as office:
        made = mailer(server_of(office), to=("{email}",))
        content = json.dumps({"email": evil}).encode()
        told = await failure(made, parcel_of(tmp_path, content, name="one.json"))
        assert office.box.envelopes == []
    assert not told.passing


async def test_a_name_cannot_add_a_header(tmp_path: Path) -> None:
    name = "x\r\nBcc: all@example.org\r\n\r\nbody\x00.csv".replace("\x00", "\x01")
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(parcel_of(tmp_path, b"x", name=name))
        (mail,) = office.box.mails
        assert office.box.envelopes[0].rcpt_tos == ["you@example.org"]
    assert mail["Bcc"] is None
    assert mail["Subject"] == "x Bcc: all@example.org body .csv: enriched"


async def test_a_name_that_is_not_utf_8_is_shown_with_a_mark(tmp_path: Path) -> None:
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(parcel_of(tmp_path, b"x", name="\udcff.csv"))
        (mail,) = office.box.mails
    assert mail["Subject"] == "\ufffd.csv: enriched"
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "\ufffd.csv"


async def test_a_failed_exchange_is_mailed_with_its_problem(tmp_path: Path) -> None:
    problem = {"title": "No answer came in time", "detail": "It was wanted until noon"}
    parcel = parcel_of(
        tmp_path, b"{}", name="orders.csv.problem.json", outcome="failed", problem=problem
    )
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(replace(parcel, original_name="orders.csv"))
        (mail,) = office.box.mails
    assert mail["Subject"] == "orders.csv: failed"
    body = mail.get_body()
    assert body is not None
    assert "It was wanted until noon" in body.get_content()
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "orders.csv.problem.json"
    assert attached.get_content_type() == "application/problem+json"


async def test_a_file_just_below_the_limit_is_attached_and_one_just_above_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(range(256)) * 4096
    with post_office(tmp_path) as office:
        made = mailer(server_of(office), most=len(content))
        await made.deliver(parcel_of(tmp_path, content))
        assert caplog.records == []
        await made.deliver(parcel_of(tmp_path, content + b"x"))
        below, above = office.box.mails
    (attached,) = below.iter_attachments()
    assert attached.get_payload(decode=True) == content
    assert list(above.iter_attachments()) == []
    assert above.get_content().splitlines()[-2:] == [
        "The file is not attached: it has 1048577 bytes, and 1048576 is the most.",
        f"It is at {tmp_path / 'orders.csv'} on {socket.gethostname()}.",
    ]
    (record,) = caplog.records
    assert (record.message, record.levelname) == ("attachment left out", "WARNING")


async def test_what_the_server_says_that_it_takes_is_heeded_like_our_own_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file becomes larger by a third and more in a mail (RFC 2045 section 6.8)."""
    room = 1_000_000
    with post_office(tmp_path, room=room) as office:
        made = mailer(server_of(office))
        for size in (710_000, 720_000, 990_000):
            await made.deliver(parcel_of(tmp_path, b"x" * size))
        mails = office.box.mails
        sizes = [len(each.content or b"") for each in office.box.envelopes]
    attached = [[len(each.get_content()) for each in mail.iter_attachments()] for mail in mails]
    assert attached == [[710_000], [], []]
    assert room * 0.95 < sizes[0] < room, "not much room is given away"
    body = mails[2].get_content()
    assert "it has 990000 bytes, and the mail server takes 1000000 for a whole mail" in body
    assert [record.message for record in caplog.records] == ["attachment left out"] * 2


async def test_a_mail_too_large_for_a_server_that_did_not_say_so_is_dead_in_one_line(
    tmp_path: Path,
) -> None:
    with post_office(tmp_path) as office:
        answer = "552 5.3.4 Message size exceeds fixed limit"
        office.box.refuse = lambda said, argument: answer if said == "DATA" else None
        told = await failure(mailer(server_of(office)), parcel_of(tmp_path, b"x" * 100))
    assert (told.passing, told.away) == (False, False)
    assert told.text == f"localhost refused the mail: {answer}; is `most` too high?"
    with post_office(tmp_path, room=1000) as office:  # Not even the text finds room.
        made = mailer(server_of(office), text="x" * 2000)
        told = await failure(made, parcel_of(tmp_path, b"x"))
    assert (told.passing, told.away) == (False, False)
    assert told.text.startswith("localhost refused the mail: 552 ")


async def test_without_an_attachment_there_is_none_that_could_be_too_large(tmp_path: Path) -> None:
    with post_office(tmp_path, room=100_000) as office:
        made = mailer(server_of(office), attach=False, most=1)
        await made.deliver(parcel_of(tmp_path, b"x" * 200_000))
        (mail,) = office.box.mails
    assert "not attached" not in mail.get_content()


async def test_what_was_changed_in_place_is_not_sent_as_what_arrived(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"content")
    parcel.path.write_bytes(b"CONTENT")
    with post_office(tmp_path) as office:
        told = await failure(mailer(server_of(office)), parcel)
        assert office.box.envelopes == []
    assert not told.passing
    assert "changed" in told.text


async def test_what_was_taken_from_the_inbox_is_mailed_all_the_same(tmp_path: Path) -> None:
    parcel = parcel_of(tmp_path, b"content")
    parcel.path.unlink()
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(parcel)
        (attached,) = office.box.mails[0].iter_attachments()
    assert attached.get_content() == "content"


async def test_a_server_that_hangs_is_left_as_soon_as_the_agent_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server("127.0.0.1", silent.getsockname()[1], tls="none", sender="a@example.org")
        task = asyncio.create_task(mailer(server).deliver(parcel_of(tmp_path, b"x")))
        connection, _ = await asyncio.to_thread(silent.accept)
        with connection:
            connection.sendall(b"220 hello\r\n")
            await asyncio.to_thread(connection.recv, 100)  # EHLO, and no answer to it
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(connection.recv, 100) == b"", "the connection is cut"
    assert time.monotonic() - began < 5.0


def telling(refuse: dict[str, str]) -> Callable[[str, str], str | None]:
    """What a post office answers to the recipients of this name."""
    return lambda command, to: refuse.get(to.partition("@")[0]) if command == "RCPT" else None


TWO = ("you@example.org", "boss@example.org")


async def test_who_has_the_mail_is_not_mailed_again_when_another_is_tried_later(
    tmp_path: Path,
) -> None:
    parcel = parcel_of(tmp_path, b"x")
    with post_office(tmp_path) as office:
        made = mailer(server_of(office), to=("you@example.org",), cc=["boss@example.org"])
        office.box.refuse = telling({"you": "450 greylisted"})
        told = await failure(made, parcel)
        assert (told.passing, told.away) == (True, False)
        assert "you@example.org: 450 greylisted" in told.text and "boss" not in told.text
        again = replace(parcel, attempt=2, settled=told.settled)
        office.box.refuse = telling({})
        await made.deliver(again)
        assert [each.rcpt_tos for each in office.box.envelopes] == [[TWO[1]], [TWO[0]]]
        assert office.box.mails[1]["Cc"] == "boss@example.org", "the same mail for everybody"


async def test_who_is_refused_for_good_is_told_once_and_not_asked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parcel = parcel_of(tmp_path, b"x")
    with post_office(tmp_path) as office:
        made = mailer(server_of(office), to=TWO)
        asked: list[str] = []

        def refuse(command: str, to: str) -> str | None:
            if command == "RCPT":
                asked.append(to.partition("@")[0])
            return telling({"you": "450 greylisted", "boss": "550 gone"})(command, to)

        office.box.refuse = refuse
        told = await failure(made, parcel)
        assert [record.message for record in caplog.records] == ["recipients refused"]
        assert caplog.records[0].__dict__["reason"] == "boss@example.org: 550 gone"
        later = await failure(made, replace(parcel, settled=told.settled))
        assert (told.passing, later.passing) == (True, True)
        assert asked == ["you", "boss", "you"]
        assert len(caplog.records) == 1
        office.box.refuse = telling({"you": "551 not here"})
        last = await failure(made, replace(parcel, settled=later.settled))
        assert not last.passing, "nobody has it, and nobody will"
        assert "550 gone" in last.text and "551 not here" in last.text
        served = {**later.settled, "third@example.org": ""}
        await made.deliver(replace(parcel, settled=served))
        assert caplog.records[-1].__dict__["reason"] == "you@example.org: 551 not here"
        assert office.box.envelopes == []
