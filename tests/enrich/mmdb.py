"""Writes small MaxMind databases: https://maxmind.github.io/MaxMind-DB/ (version 2.0)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

MARKER = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)


class _Sized(NamedTuple):
    """An integer of a certain type: readers insist on those of the metadata."""

    kind: int
    value: int


def database(networks: Mapping[str, Any], *, version: int = 4) -> bytes:
    """A database in which each network (not inside another one) has a value."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for text, value in networks.items():
        network = ip_network(text)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        if version == 6 and network.version == 4:
            bits = "0" * 96 + bits
        at = 0
        for bit in bits[:-1]:
            if nodes[at][int(bit)] is None:
                nodes.append([None, None])
                nodes[at][int(bit)] = len(nodes) - 1
            at = nodes[at][int(bit)]
        nodes[at][int(bits[-1])] = ("data", len(data))
        data += _encoded(value)
    tree = b"".join(_record(side, len(nodes)) for node in nodes for side in node)
    about = {
        "binary_format_major_version": _Sized(5, 2),
        "binary_format_minor_version": _Sized(5, 0),
        "build_epoch": _Sized(9, 1_700_000_000),
        "database_type": "Test",
        "description": {"en": "made for a test"},
        "ip_version": _Sized(5, version),
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": _Sized(5, 24),
    }
    return tree + SEPARATOR + data + MARKER + _encoded(about)


def _record(side: Any, nodes: int) -> bytes:
    if side is None:
        value = nodes
    elif isinstance(side, tuple):
        value = nodes + len(SEPARATOR) + side[1]
    else:
        value = side
    return int(value).to_bytes(3, "big")


def _encoded(value: Any) -> bytes:
    if isinstance(value, bool):
        return _control(14, int(value))
    if isinstance(value, int):
        return _encoded(_Sized(6, value))
    if isinstance(value, _Sized):
        text = value.value.to_bytes(8, "big").lstrip(b"\0")
        return _control(value.kind, len(text)) + text
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_encoded, value))
    members = (_encoded(key) + _encoded(member) for key, member in value.items())
    return _control(7, len(value)) + b"".join(members)


def _control(kind: int, size: int) -> bytes:
    first, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    if kind <= 7:
        return bytes([kind << 5 | first]) + rest
    return bytes([first, kind - 7]) + rest
