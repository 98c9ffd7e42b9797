"""What an agent and its helper say to each other: one message for each request and each answer.

The socket is an AF_UNIX SOCK_SEQPACKET pair, which keeps messages apart and carries descriptors. A
message is a marshalled tuple: both ends are the same Python, and trust each other. Bodies that are
not small travel in a memfd (memfd_create(2)), which needs no copy through the socket.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

INLINE = 8 * 1024
"""Bodies up to this many bytes travel in the message itself."""

_LARGEST = 64 * 1024
_ONE_RIGHT = socket.CMSG_LEN(struct.calcsize("i"))
_MEMORY = "memory"


class Answer(Enum):
    """What an answer says of a request."""

    DONE = "done"
    ERROR = "error"
    """An error of the system, or a NotAFile."""
    DEFECT = "defect"
    """An error of ours."""
    GOING_ON = "going on"
    """A long copy begins a step of so many bytes; the real answer is still to come."""


class Closed(Exception):
    """The other end is gone."""


def send(end: socket.socket, message: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        Closed: the other end is gone.
        BlockingIOError: the socket doesn't block, and is full.
    """
    packed = struct.pack(f"{len(descriptors)}i", *descriptors)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)] if descriptors else []
    try:
        end.sendmsg([marshal.dumps(message)], rights, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


def receive(end: socket.socket) -> tuple[tuple[Any, ...], int | None]:
    """Receive one message, and the descriptor that came with it, if one did.

    Raises:
        Closed: the other end is gone.
        BlockingIOError: the socket doesn't block, and there is none.
    """
    try:
        # Not socket.recv_fds: Python 3.11's forgets its flags.
        data, rights, flags, _ = end.recvmsg(_LARGEST, _ONE_RIGHT, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError as error:
        raise Closed from error
    if not data:
        raise Closed
    assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), "a message is cut off"
    descriptors = [struct.unpack("i", found)[0] for _, _, found in rights]
    return marshal.loads(data), descriptors[0] if descriptors else None


@contextlib.contextmanager
def packed(body: bytes) -> Iterator[tuple[object, list[int]]]:
    """A body as it is put into a message, and the descriptors to be sent with it."""
    if len(body) <= INLINE:
        yield body, []
        return
    memory = in_memory(body)
    try:
        yield (_MEMORY, len(body)), [memory]
    finally:
        os.close(memory)


def unpacked(body: Any, descriptor: int | None) -> bytes:
    """The body that `packed` made; the descriptor is left open."""
    if isinstance(body, bytes):
        return body
    assert descriptor is not None
    return os.pread(descriptor, body[1], 0)


def in_memory(content: bytes) -> int:
    """The descriptor of a new file in memory that holds `content`."""
    memory = os.memfd_create("roundtrip", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(memory, view) :]
    return memory
