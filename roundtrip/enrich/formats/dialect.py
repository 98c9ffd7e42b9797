"""How a table is written: its encoding, delimiter, quote and line end, given or detected."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

from roundtrip.enrich.faults import PayloadFault
from roundtrip.enrich.settings import Csv

HEAD = 64 * 1024  # bytes that the dialect is judged by
DELIMITERS = ",;\t|"

_LINE_END = re.compile(r"\r\n|\n|\r")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is needed to read a table and to write it the same way. `bom`: it began with one."""

    encoding: str
    delimiter: str
    quote: str
    line_end: str
    bom: bool


def dialect(source: BinaryIO, given: Csv, *, tabs: bool) -> Dialect:
    """The table's dialect; reads all of `source` if its encoding is in doubt, and rewinds it.

    Raises PayloadFault when what is given can't be.
    """
    head = source.read(HEAD)
    source.seek(0)
    bom = head.startswith(codecs.BOM_UTF8)
    encoding = _given_encoding(given.encoding, head) if given.encoding else _encoding(source, head)
    try:
        text = head.decode(encoding, "replace")
    except UnicodeError:
        raise _fault(f"not valid {given.encoding}") from None
    end = _LINE_END.search(text)
    first = text[: end.start()] if end else text
    delimiter = "\t" if tabs else given.delimiter or _delimiter(first, given.quote)
    for name, char in (("delimiter", delimiter), ("quote", given.quote)):
        if len(char) != 1 or char in "\r\n":
            raise _fault(f"the pipeline's csv.{name} must be one character")
    if delimiter == given.quote:
        raise _fault("the pipeline's csv.delimiter and csv.quote are the same")
    utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    return Dialect(encoding, delimiter, given.quote, end[0] if end else "\n", bom and utf8)


def _delimiter(line: str, quote: str) -> str:
    """The delimiter that stands most often, outside quotes, in a table's first line."""
    bare = "".join(line.split(quote)[::2]) if quote else line
    return max(DELIMITERS, key=bare.count)


def _given_encoding(name: str, head: bytes) -> str:
    """The codec for an encoding's name; one that skips a BOM if there is one."""
    try:
        "".encode(name)  # refuses codecs that are none for text, as base64
        found = codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError):
        raise _fault(f"the pipeline's csv.encoding {name!r} is not known") from None
    if found == "utf-8":
        return "utf-8-sig"
    return "utf-16" if found.startswith("utf-16") and head[:2] in _UTF_16 else name


def _encoding(source: BinaryIO, head: bytes) -> str:
    """UTF-16 with a BOM, else UTF-8 if all of the table is, else Latin-1."""
    if head[:2] in _UTF_16:
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while piece := source.read(1024 * 1024):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    finally:
        source.seek(0)
    return "utf-8-sig"


def _fault(detail: str) -> PayloadFault:
    return PayloadFault("Unreadable payload", detail)
