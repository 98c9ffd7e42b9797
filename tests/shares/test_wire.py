"""Messages between an agent and its helper come as they went, whatever is in them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roundtrip.shares import wire

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.binary(max_size=wire.INLINE),
    st.text(st.characters(), max_size=255),
)  # fmt: skip


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


@given(message=st.lists(VALUES, max_size=5).map(tuple))
def test_a_message_comes_as_it_went(
    ends: tuple[socket.socket, socket.socket], message: tuple[object, ...]
) -> None:
    wire.send(ends[0], message)
    assert wire.receive(ends[1]) == (message, None)


@pytest.mark.parametrize("size", [0, 1, wire.INLINE, wire.INLINE + 1, 3 << 20])
def test_a_body_of_any_size_arrives(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    body = os.urandom(size)
    before = len(os.listdir("/proc/self/fd"))
    with wire.packed(body) as (packed, descriptors):
        wire.send(ends[0], (1, packed), descriptors)
    (_, found), descriptor = wire.receive(ends[1])
    assert wire.unpacked(found, descriptor) == body
    if descriptor is not None:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_eight_messages_of_the_largest_size_fit_a_socket_that_nobody_reads() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        one.setblocking(False)
        for number in range(8):  # as many as a helper has threads
            wire.send(one, (number, "put", "n" * 255, "n" * 255, True, bytes(wire.INLINE)))


@pytest.mark.parametrize("what", ["send", "receive"])
def test_an_end_that_was_closed_is_told(what: str) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.close()
    with one, pytest.raises(wire.Closed):
        wire.send(one, (1,)) if what == "send" else wire.receive(one)
