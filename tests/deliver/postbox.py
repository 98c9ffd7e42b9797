"""A real SMTP server on loopback: TLS, passwords, and refusals as a test wants them."""

from __future__ import annotations

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "roundtrip", "sehr geheim"


class Postbox:
    """Takes mail; `refuse` may answer a command (RCPT, DATA) with a line of its own."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.tls: list[bool] = []
        self.refuse: Callable[[str, str], str | None] = lambda command, argument: None

    @property
    def mails(self) -> list[EmailMessage]:
        return [
            email.message_from_bytes(each.content, policy=default)  # type: ignore[arg-type]
            for each in self.envelopes
        ]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self.refuse("RCPT", address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if answer := self.refuse("DATA", ""):
            return answer
        self.envelopes.append(envelope)
        self.tls.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 taken"


def _check(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
) -> AuthResult:
    is_right = isinstance(data, LoginPassword) and (
        (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    )
    return AuthResult(success=is_right, handled=False)


class Listening:
    """Where a post office is, and how it is believed."""

    def __init__(self, box: Postbox, port: int, ca: Path) -> None:
        self.box = box
        self.port = port
        self.ca = ca


@contextmanager
def post_office(
    folder: Path, *, tls: str = "none", login: bool = False, room: int | None = None
) -> Iterator[Listening]:
    """A server, until the block ends; `tls` is none, starttls or tls.

    `room` is the largest mail that it takes, in bytes, and says so.
    """
    authority = trustme.CA()
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    box = Postbox()
    options: dict[str, Any] = {"data_size_limit": room}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if login:
        options |= {"authenticator": _check, "auth_required": True}
        options |= {"auth_require_tls": tls == "starttls"}
    controller = Controller(
        box, "localhost", 0, ssl_context=context if tls == "tls" else None, **options
    )
    controller.port = free_port()
    controller.start()
    try:
        yield Listening(box, controller.port, ca)
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port
