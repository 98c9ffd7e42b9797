"""Which format a payload has, and the payload opened in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import BinaryIO

from roundtrip.enrich import json_text
from roundtrip.enrich.formats import Column, Format
from roundtrip.enrich.formats.document import DocumentFormat
from roundtrip.enrich.formats.lines import LinesFormat
from roundtrip.enrich.formats.table import TableFormat

HEAD = 64 * 1024  # bytes that a content is judged by

BY_EXTENSION = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def detect(original_name: str, source: BinaryIO) -> str:
    """The format by the name's extension, else by the first bytes: csv, json, jsonl or raw."""
    known = BY_EXTENSION.get(PurePath(original_name).suffix.lower())
    if known:
        return known
    head = source.read(HEAD)
    source.seek(0)
    return sniff(head)


def sniff(head: bytes) -> str:
    """The format by the first bytes. Text that isn't JSON is a table; what isn't text is raw."""
    text = head.removeprefix(json_text.BOM).lstrip()
    if text[:1] == b"[":
        return "json"
    if text[:1] == b"{":
        return "jsonl" if _is_lines(text) else "json"
    return "raw" if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff") else "csv"


def opened(kind: str, source: BinaryIO, columns: Sequence[Column]) -> Format:
    """The payload opened in a record format (not raw). Raises PayloadFault."""
    source.seek(0)
    if kind == "csv":
        return TableFormat(source, columns)
    return DocumentFormat(source) if kind == "json" else LinesFormat(source)


def _is_lines(text: bytes) -> bool:
    first, _, rest = text.partition(b"\n")
    try:
        json_text.decode(first)
    except json_text.UNREADABLE:
        return False
    return bool(rest.strip())
