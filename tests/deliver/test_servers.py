"""Mail and webhooks from real agents: to who asked for it, to who is named, and after SIGKILL."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.deliver.conftest import MakeWorld
from tests.deliver.gateway import gateway
from tests.deliver.postbox import PASSWORD, USER, Listening, post_office
from tests.deliver.test_webhook import SECRET, receiver_of_the_page, site
from tests.e2e.world import wait_until

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 100


def server_of(office: Listening) -> dict[str, object]:
    return {
        "server": "localhost", "port": office.port, "from": "rt@example.org",
        "user": USER, "password": "${SMTP_PASSWORD}", "ca": str(office.ca),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)


def test_the_end_of_an_exchange_is_mailed_to_who_asked_for_it(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    with post_office(tmp_path, tls="starttls", login=True) as office:
        world = make_world({}, mail=server_of(office))
        world.start()
        for name, content in (("one.pdf", PDF), ("two.bad", b"x"), ("three.pdf", PDF)):
            path = tmp_path / name
            path.write_bytes(content)
            asked = ["-t", "email", f"{path.stem}@example.org"] if name[1] != "h" else []
            done = world.a.run("send", *asked, path)
            assert done.returncode == 0, done.stderr
        wait_until(lambda: len(office.box.mails) == 2, "two have asked", 40)
        world.wait_closed()
        found = {mail["To"]: mail for mail in office.box.mails}
    assert found.keys() == {"one@example.org", "two@example.org"}
    (attached,) = found["one@example.org"].iter_attachments()
    assert attached.get_content() == PDF
    assert found["two@example.org"]["Subject"] == "two.bad: failed"
    (problem,) = found["two@example.org"].iter_attachments()
    assert problem.get_content_type() == "application/problem+json"


def test_an_invoice_goes_to_its_customer_though_the_agent_is_killed_in_the_middle(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    table = tmp_path / "customers.csv"
    table.write_text("number,email\n4711,kunde@example.org\n")
    customers = {
        "mail": {"to": "{email}", "subject": "Invoice {customer}"},
        "fields": {
            "name": r"(?P<customer>[^_]+)_.*\.pdf",
            "lookup": {"file": str(table), "key": "{customer}", "column": "number"},
        },
        "retry": {"min_delay": "50ms"},
    }
    with post_office(tmp_path, tls="starttls", login=True) as office:
        world = make_world({"customers": customers}, mail=server_of(office))
        world.start()
        is_there, go_on = threading.Event(), threading.Event()

        def hold(command: str, argument: str) -> None:
            if command == "DATA" and not is_there.is_set():
                is_there.set()
                go_on.wait(30)

        office.box.refuse = hold
        world.drop("4711_2026-11.pdf", PDF)
        assert is_there.wait(30), "the mail is on its way"
        world.a.kill()
        go_on.set()
        wait_until(lambda: office.box.mails, "the server has taken it, and nobody was told")
        world.a.start()
        wait_until(lambda: world.a.events("delivery done"), "it is delivered again")
        first, again = office.box.mails
    for mail in (first, again):
        assert mail["To"] == "kunde@example.org"
        (attached,) = mail.iter_attachments()
        assert attached.get_content() == PDF
    assert first["Message-ID"] == again["Message-ID"]


def test_a_webhook_is_called_again_with_the_same_id_after_a_kill(make_world: MakeWorld) -> None:
    is_there, go_on = threading.Event(), threading.Event()

    def hold() -> tuple[int, dict[str, str], bytes]:
        if not is_there.is_set():
            is_there.set()
            go_on.wait(30)
        return 204, {}, b""

    with site() as found:
        found.answer = hold
        hook = {"url": found.url + "/hook", "secret": SECRET, "body": "file"}
        world = make_world({"shop": {"http": hook, "retry": {"min_delay": "50ms"}}})
        world.start()
        world.drop("one.pdf", PDF)
        assert is_there.wait(30), "the request is on its way"
        world.a.kill()
        go_on.set()
        world.a.start()
        wait_until(lambda: world.a.events("delivery done"), "it is sent again")
        first, again = found.requests
    assert first[3] == again[3] == PDF
    for name in ("webhook-id", "Idempotency-Key", "X-Roundtrip-Sha256"):
        assert first[2][name] == again[2][name]


def test_a_webhook_goes_through_a_proxy_and_a_proxy_that_is_away_is_named(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both secrets sign; the proxy alone is told its password, and so is no log."""
    monkeypatch.setenv("PROXY_PASSWORD", "hushhush")
    old = "whsec_" + "QUJD" * 8
    with site() as found:
        port = urlsplit(found.url).port
        assert port is not None
        with gateway() as proxy:
            proxy.login, proxy.places = "me:hushhush", {"shop.invalid": ("127.0.0.1", port)}
            shop = {"url": f"http://shop.invalid:{port}/new", "secret": [SECRET, old],
                    "proxy": proxy.url("me:${PROXY_PASSWORD}")}  # fmt: skip
            world = make_world({"shop": {"http": shop, "retry": {"max_delay": "1s"}}})
            world.start()
            world.drop("one.json", b"content")
            wait_until(lambda: found.requests, "it is told")
            ((_, _, headers, body),) = found.requests
            assert json.loads(body)["original_name"] == "one.json"
            is_genuine = receiver_of_the_page()
            assert is_genuine(headers, body, SECRET) and is_genuine(headers, body, old)
        world.drop("two.json", b"content")
        status = world.a.folder("state/health-a.json")
        words = "shop.invalid: no connection to the proxy localhost"
        wait_until(lambda: words in status.read_text(), "the condition names the proxy")
        assert len(found.requests) == 1
        assert "hushhush" not in status.read_text() + world.a.log.read_text()


def test_an_agent_killed_between_two_attempts_mails_nobody_again_who_has_it(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    notice = {
        "mail": {"to": ["slow@example.org", "boss@example.org"]},
        "retry": {"min_delay": "50ms", "max_delay": "200ms"},
    }
    with post_office(tmp_path, tls="starttls", login=True) as office:
        is_busy = threading.Event()
        is_busy.set()

        def refuse(command: str, to: str) -> str | None:
            return "450 later" if to.startswith("slow") and is_busy.is_set() else None

        office.box.refuse = refuse
        world = make_world({"notice": notice}, mail=server_of(office))
        world.start()
        world.drop("one.pdf", PDF)
        wait_until(lambda: len(world.a.events("delivery failed")) >= 3, "it is tried again")
        world.a.kill()
        world.a.start()
        wait_until(lambda: len(world.a.events("delivery failed")) >= 6, "and in the next life")
        assert [each.rcpt_tos for each in office.box.envelopes] == [["boss@example.org"]]
        is_busy.clear()
        wait_until(lambda: world.a.events("delivery done"), "and taken")
        assert [each.rcpt_tos for each in office.box.envelopes[1:]] == [["slow@example.org"]]
