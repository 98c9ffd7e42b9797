"""A mail as text: its headers can't be forged by what a file or its record says."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any

from roundtrip.addresses import is_address
from roundtrip.deliver.content import media_type, whole
from roundtrip.deliver.port import Parcel, Undelivered, printable
from roundtrip.deliver.settings import MailSettings
from roundtrip.errors import RecordFault
from roundtrip.template import Field, Template

_LONGEST = 200  # characters of a subject
_LINE, _ENCODED = 57, 78  # bytes of a file, and of the line of base64 that they make, with its end
_REST = 16 * 1024  # bytes; more than headers and parts' borders of such a mail have


class Letters:
    """Writes the mails of one delivery."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings
        self._to = [Template(text) for text in settings.to]
        self._cc = [Template(text) for text in settings.cc]
        self._subject = Template(settings.subject)
        self._text = Template(settings.text) if settings.text else None

    @property
    def fields(self) -> list[Field]:
        """The fields that the templates name."""
        texts = [*self._to, *self._cc, self._subject, *([self._text] if self._text else [])]
        return [field for template in texts for field in template.fields]

    def begin(self, parcel: Parcel, fields: dict[str, Any]) -> Draft:
        """All but the file; Undelivered when a field is missing, or is no address."""
        try:
            to = [_address(template, fields) for template in self._to]
            cc = [_address(template, fields) for template in self._cc]
            subject = _one_line(self._subject.render(fields, printable, empty=True))
            text = self._said(parcel, fields)
        except RecordFault as fault:
            raise Undelivered(False, fault.detail) from None
        mail = EmailMessage(policy=SMTP)
        sender = self._settings.server.sender
        mail["From"], mail["To"] = sender, ", ".join(to)
        if cc:
            mail["Cc"] = ", ".join(cc)
        if self._settings.reply_to:
            mail["Reply-To"] = self._settings.reply_to
        mail["Subject"] = subject
        mail["Date"] = formatdate()
        mail["Message-ID"] = message_id(parcel, sender)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes, please
        mail["X-Roundtrip-Id"] = parcel.id
        most = self._settings.most if self._settings.attach else None
        return Draft(mail, list(dict.fromkeys([*to, *cc])), text, parcel, most)

    def _said(self, parcel: Parcel, fields: dict[str, Any]) -> str:
        if self._text is not None:
            return self._text.render(fields, printable, empty=True).rstrip("\n") + "\n"
        return summary(parcel)


@dataclass(slots=True)
class Draft:
    """A mail without its file. `most` is the largest to attach, in bytes; None: none is wanted."""

    mail: EmailMessage
    recipients: list[str]
    text: str
    parcel: Parcel
    most: int | None

    def finish(self, room: int | None = None) -> EmailMessage:
        """The mail; `room` is how many bytes the server takes in all, None: any number.

        A file that is too large stays where it is, and the mail says where that is. Undelivered
        when the file has changed.
        """
        reason = self.left_out(room)
        self.mail.set_content(self.text + (f"\n{reason}" if reason else ""))
        if self.most is not None and reason is None:
            self._attach()
        return self.mail

    def left_out(self, room: int | None) -> str | None:
        """Why the file is not attached though it is wanted, for whoever gets the mail."""
        if self.most is None:
            return None
        size = self.parcel.size
        if size > self.most:
            why = f"{self.most} is the most"
        elif room is not None and _in_mail(size) + 3 * len(self.text.encode()) > room:
            why = f"the mail server takes {room} for a whole mail"
        else:
            return None
        return (
            f"The file is not attached: it has {size} bytes, and {why}.\n"
            f"It is at {printable(str(self.parcel.path))} on {socket.gethostname()}.\n"
        )

    def _attach(self) -> None:
        parcel = self.parcel
        kind, _, subtype = media_type(parcel).partition("/")
        name = parcel.path.name if parcel.problem else parcel.original_name
        self.mail.add_attachment(
            whole(parcel), maintype=kind, subtype=subtype, filename=_one_line(printable(name))
        )


def _in_mail(size: int) -> int:
    """Bytes of a mail with a file of `size` bytes and hardly any text."""
    return -(-size // _LINE) * _ENCODED + _REST


def summary(parcel: Parcel) -> str:
    """A few lines about a file, for a mail without a text of its own."""
    lines = [f"{printable(parcel.original_name)}: {parcel.outcome}", ""]
    if parcel.problem:
        for key in ("title", "detail"):
            lines += [_one_line(str(parcel.problem[key]))] if parcel.problem.get(key) else []
        lines.append("")
    about = {"pipeline": parcel.pipeline, "sent": parcel.created, "ended": parcel.ended}
    about |= {name: f"{value:g}" for name, value in parcel.stats.items()}
    lines += [f"{name}: {value}" for name, value in about.items() if value is not None]
    return "\n".join([*lines, f"exchange: {parcel.exchange}", ""])


def message_id(parcel: Parcel, sender: str) -> str:
    """The same for every attempt (RFC 5322 section 3.6.4), so that a mailbox can drop doubles."""
    digest = hashlib.sha256(parcel.id.encode()).hexdigest()[:40]
    domain = sender.rpartition("@")[2]
    return f"<{digest}@{domain if domain.isascii() else 'localhost'}>"


def _address(template: Template, fields: dict[str, Any]) -> str:
    text = template.render(fields, str).strip()
    if not is_address(text):
        raise RecordFault("Unusable field", f"{text!r:.80} is not a mail address")
    return text


def _one_line(text: str) -> str:
    """Text for a header: no line break or other control character can begin another one."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."
