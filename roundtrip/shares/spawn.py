"""The start of a helper process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from roundtrip.errors import ShareAway

_PACKAGES = str(Path(__file__).parents[2])
_KEPT = ("LANG", "LC_", "LD_", "PYTHON")  # beginnings of the variables that the helper gets

# mallopt(3): without them each thread keeps the memory of the largest copy that it ever made.
_SMALL = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}


def start(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process; it inherits its end of the socket and nothing else.

    Its working directory is no share's, and its own session keeps Ctrl-C of a terminal from it.
    Without site (-S) and the script's folder (-P) it starts in half the time.

    Raises:
        ShareAway: it can't be started.
    """
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    known = kept.get("PYTHONPATH")
    path = f"{_PACKAGES}{os.pathsep}{known}" if known else _PACKAGES
    module = ["-m", "roundtrip.shares.helper", str(end.fileno()), str(os.getpid())]
    try:
        return subprocess.Popen(
            [sys.executable, "-S", "-P", *module],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**kept, **_SMALL, "PYTHONPATH": path},
            pass_fds=[end.fileno()],
            start_new_session=True,
        )
    except OSError as error:
        raise ShareAway(f"the share's helper process can't be started: {error.strerror}") from error
