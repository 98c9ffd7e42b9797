"""Tells systemd how the agent is: ready, reloading, stopping, still alive (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time


class Notifier:
    """Sends states to the socket that systemd names; does nothing where there is none.

    A library for these few lines would be one more thing to trust on host A.
    """

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # An abstract socket's address begins with a zero byte, which an environment can't hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._timer: asyncio.TimerHandle | None = None

    def ready(self, status: str) -> None:
        """The agent works; `status` is one line for `systemctl status`."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends that."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """The agent has begun to end."""
        self._send("STOPPING=1")

    def watch(self) -> None:
        """Say twice in systemd's time (WatchdogSec=) that the event loop still turns."""
        pid = os.environ.get("WATCHDOG_PID")
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        if microseconds.isdigit() and pid in (None, str(os.getpid())):
            self._pulse(int(microseconds) / 2e6)

    def _pulse(self, pause: float) -> None:
        self._send("WATCHDOG=1")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(pause, self._pulse, pause)

    def close(self) -> None:
        """Say nothing more of being alive."""
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A service manager that has gone, or is too busy to listen, is no reason to stop working.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door,
        ):
            door.setblocking(False)
            door.sendto("\n".join(lines).encode(), self._address)
