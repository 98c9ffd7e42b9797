"""Which format a payload has, and the payload opened in it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import PurePath
from typing import BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.formats import Column, Format
from roundtrip.enrich.formats.document import DocumentFormat
from roundtrip.enrich.formats.lines import LinesFormat
from roundtrip.enrich.formats.table import TableFormat
from roundtrip.enrich.formats.xml import XmlFormat
from roundtrip.enrich.settings import Formats

HEAD = 64 * 1024  # bytes that a content is judged by

BY_EXTENSION = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xml": "xml",
}

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def detect(original_name: str, source: BinaryIO) -> str:
    """The format by the name's extension, else by the first bytes; see `sniff`."""
    known = BY_EXTENSION.get(PurePath(original_name).suffix.lower())
    if known:
        return known
    head = source.read(HEAD)
    source.seek(0)
    return sniff(head)


def sniff(head: bytes) -> str:
    """json, jsonl, xml, csv or raw, by the first bytes.

    Text that is neither JSON nor XML is a table; what isn't text is raw.
    """
    if head[:2] in _UTF_16:
        return "xml" if head[2:4] in (b"<\0", b"\0<") else "csv"
    text = head.removeprefix(json_text.BOM).lstrip()
    if text[:1] == b"[":
        return "json"
    if text[:1] == b"{":
        return "jsonl" if _is_lines(text) else "json"
    if b"\0" in head:
        return "raw"
    return "xml" if text[:1] == b"<" else "csv"


def opened(
    kind: str, source: BinaryIO, columns: Sequence[Column], formats: Formats | None = None
) -> Format:
    """The payload opened in a record format (not raw). Raises PayloadFault.

    `formats` is what is known of it beforehand; a table's delimiter is always a tab in a tsv.
    """
    formats = formats or Formats()
    source.seek(0)
    if kind == "json":
        return DocumentFormat(source, columns, formats.json_path)
    if kind == "jsonl":
        return LinesFormat(source, columns)
    if kind == "xml":
        return XmlFormat(source, columns, formats.xml_record)
    return TableFormat(source, columns, formats.csv, tabs=kind == "tsv")


def _is_lines(text: bytes) -> bool:
    first, _, rest = text.partition(b"\n")
    try:
        json_text.decode(first)
    except json_text.UNREADABLE:
        return False
    return bool(rest.strip())
