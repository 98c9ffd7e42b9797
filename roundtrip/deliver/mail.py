"""The `mail` delivery: one mail for each file, through the configured server (RFC 5321).

    parcel -> draft -> connect -> STARTTLS -> AUTH -> attach -> MAIL FROM, RCPT TO, DATA

smtplib blocks, so each mail has a thread; a cancelled one has its connection cut.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from collections.abc import Container, Mapping
from contextlib import closing, suppress
from functools import cached_property

from roundtrip.deliver.fields import Fielding
from roundtrip.deliver.message import Draft, Letters
from roundtrip.deliver.port import Parcel, Undelivered
from roundtrip.deliver.settings import DeliverySettings, MailSettings, Server
from roundtrip.deliver.threads import beside

log = logging.getLogger("roundtrip.deliver")

Answers = dict[str, tuple[int, bytes] | None]
"""What a server says of each recipient; None: it has taken the mail for this one."""

_SHOWN = 300  # characters of a server's words
_TOO_LARGE = 552  # RFC 5321 section 4.2.3, RFC 1870 section 6.1: this mail is too large


class Mail:
    """Mails the parcels of one delivery; implements `Delivery`."""

    def __init__(self, settings: DeliverySettings, action: MailSettings) -> None:
        self._server = action.server
        self._letters = Letters(action)
        self._fields = Fielding(settings.fields)
        self._timeout = settings.timeout

    async def deliver(self, parcel: Parcel) -> None:
        """Return once the server has taken the mail (250 after DATA)."""
        fields = await self._fields.of(parcel, self._letters.fields)
        posting = _Posting(self._server, self._context, self._timeout)

        def post() -> Answers:
            return posting.send(self._letters.begin(parcel, fields), parcel.settled)

        answers = await beside(post, posting.cut)
        if posting.left_out is not None:
            about = {"delivery": parcel.delivery, "exchange": parcel.exchange}
            reason = posting.left_out.partition("\n")[0]
            log.warning("attachment left out", extra={**about, "reason": reason})
        self._judge(parcel, answers)

    def _judge(self, parcel: Parcel, answers: Answers) -> None:
        """Nothing if the parcel is over: somebody has it, and nobody may get it later."""
        settled, later = dict(parcel.settled), dict[str, str]()
        for to, why in answers.items():
            kept = later if why is not None and why[0] < 500 else settled
            kept[to] = "" if why is None else _words(*why)
        lost = {to: why for to, why in settled.items() if why and to not in parcel.settled}
        is_served = "" in settled.values()
        if lost and (later or is_served):
            about = {"delivery": parcel.delivery, "exchange": parcel.exchange}
            log.warning("recipients refused", extra={**about, "reason": _refusals(lost)})
        if later:
            text = f"{self._server.host} refused {_refusals(later)}"
            raise Undelivered(True, text, settled=settled)
        if not is_served:
            raise Undelivered(False, f"{self._server.host} refused {_refusals(settled)}")

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return _believing(self._server)

    async def aclose(self) -> None:
        """Nothing is left: each mail has a connection of its own."""


class _Posting:
    """One conversation with the server, in a thread."""

    def __init__(self, server: Server, context: ssl.SSLContext, timeout: float) -> None:
        self._server = server
        self._context = context
        self._timeout = timeout
        self._smtp: smtplib.SMTP | None = None
        self._is_cut = False
        self.left_out: str | None = None
        """Why the mail went without its file, if it did."""

    def send(self, draft: Draft, settled: Container[str]) -> Answers:
        """Hand the mail over to all recipients but those that are `settled`.

        Raises:
            Undelivered: nobody gets it, for a reason that is no recipient's.
        """
        wanted = [to for to in draft.recipients if to not in settled]
        if not wanted:
            return {}
        try:
            smtp = self._connected()
            with closing(smtp):
                self._prepare(smtp)
                room = announced(smtp)
                self.left_out = draft.left_out(room)
                refused = smtp.send_message(draft.finish(room), to_addrs=wanted)
                with suppress(smtplib.SMTPException, OSError):  # The server has the mail.
                    smtp.quit()
            return {to: refused.get(to) for to in wanted}
        except smtplib.SMTPRecipientsRefused as error:
            self.left_out = None
            return dict(error.recipients)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise judged(error, self._server.host) from None

    def greet(self) -> None:
        """Do all that comes before a mail. Undelivered if that doesn't work."""
        try:
            with closing(self._connected()) as smtp:
                self._prepare(smtp)
                # It works, and that was the question.
                with suppress(smtplib.SMTPException, OSError):
                    smtp.quit()
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise judged(error, self._server.host) from None

    def _connected(self) -> smtplib.SMTP:
        # Without a name of ours, smtplib would ask the DNS for one.
        name, host, port = socket.gethostname(), self._server.host, self._server.port
        if self._server.tls == "tls":
            self._smtp = smtplib.SMTP_SSL(
                host, port, name, timeout=self._timeout, context=self._context
            )
        else:
            self._smtp = smtplib.SMTP(host, port, name, timeout=self._timeout)
        if self._is_cut:
            self._smtp.close()
        return self._smtp

    def _prepare(self, smtp: smtplib.SMTP) -> None:
        if self._server.tls == "starttls":
            smtp.starttls(context=self._context)  # raises if the server doesn't: never in clear
        if self._server.user is not None:
            smtp.login(self._server.user, self._server.password)
        smtp.ehlo_or_helo_if_needed()

    def cut(self) -> None:
        """End at once, from another thread: its next word meets a closed connection."""
        self._is_cut = True
        connection = None if self._smtp is None else self._smtp.sock
        if connection is not None:
            with suppress(OSError):  # It has ended by itself.
                connection.shutdown(socket.SHUT_RDWR)


def greet(server: Server, timeout: float) -> None:
    """Connect to a server, encrypt and log in as each mail does, and send nothing. Blocks.

    `timeout` is in seconds, for each of its answers. Undelivered, if no mail would be taken.
    """
    _Posting(server, _believing(server), timeout).greet()


def _believing(server: Server) -> ssl.SSLContext:
    """TLS with the authorities that are believed; Undelivered if their file can't be used."""
    try:
        return ssl.create_default_context(cafile=server.ca)
    except (OSError, ssl.SSLError) as error:
        text = f"mail.ca: {server.ca}: {error.strerror or error}"
        raise Undelivered(True, text, away=True) from None


def announced(smtp: smtplib.SMTP) -> int | None:
    """The largest mail in bytes that the server says it takes (RFC 1870); None if it doesn't."""
    said = smtp.esmtp_features.get("size", "").strip()
    return int(said[:15]) or None if said.isascii() and said.isdecimal() else None


def judged(error: Exception, host: str) -> Undelivered:
    """What a failure means: of the server, of the sender, or of this mail (RFC 5321 4.2.1)."""
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError) and (
        error.smtp_code == _TOO_LARGE
    ):
        said = _words(error.smtp_code, error.smtp_error)
        return Undelivered(False, f"{host} refused the mail: {said}; is `most` too high?")
    if isinstance(error, smtplib.SMTPSenderRefused):
        text = f"{host} refused the sender: {_words(error.smtp_code, error.smtp_error)}"
        return Undelivered(True, text, away=True)
    if isinstance(error, smtplib.SMTPDataError):
        text = f"{host} refused the mail: {_words(error.smtp_code, error.smtp_error)}"
        return Undelivered(error.smtp_code < 500, text)
    if isinstance(error, smtplib.SMTPResponseException):  # greeting, HELO, STARTTLS, AUTH
        text = f"{host}: {_words(error.smtp_code, error.smtp_error)}"
        return Undelivered(True, text, away=True)
    if isinstance(error, smtplib.SMTPNotSupportedError) and "SMTPUTF8" in str(error):
        return Undelivered(False, f"{host}: takes no address that is not ASCII")
    if isinstance(error, UnicodeError):
        return Undelivered(False, f"an address can't be written for {host}: {error}")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Undelivered(True, f"{host}: {' '.join(str(words).split())}", away=True)


def _refusals(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{to}: {why}" for to, why in reasons.items() if why)


def _words(code: int, said: bytes | str) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f"{code} {line}"[:_SHOWN]
