"""What the lab's parts are called, and where they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundtrip-lab"
"""The image; made once, and left by `down`."""

NAMESPACE = "-".join(["roundtrip-lab", *os.environ.get("LAB_NAME", "").split()])
"""The network namespace. Whatever process is in it belongs to the lab. $LAB_NAME makes another one,
so that several labs can be up at a time: they share nothing but the image."""
RUN = Path("/run") / NAMESPACE
"""Whatever belongs to a lab that is up: logs, control sockets, inventory. `down` removes it."""
DISKS = Path("/dev/shm") / NAMESPACE
"""What the guests have written, over the image: in memory, where their many fsyncs cost nothing."""

BRIDGE = "br-lab"
GATEWAY = "10.231.7.1"
"""The bridge's own address: packages, the API and ssh come from there."""
ADDRESSES = {"a": "10.231.7.11", "b": "10.231.7.12", "nas": "10.231.7.13", "w": "10.231.7.14"}
PACKAGES_PORT, API_PORT = 8000, 8080
API_URL = f"http://{GATEWAY}:{API_PORT}"
LIMITED: dict[str, dict[str, Any]] = {
    "rated": {"rate": "4/s"},
    "counted": {"quota": {"minute": 60}},
}
"""What of the API workers may call only so often, by the word that its URLs begin with."""

INSIDE = ("nsenter", f"--net=/run/netns/{NAMESPACE}")
"""What is put before a command that is to run in the lab's network."""


def tap(name: str) -> str:
    """A guest's network device, on our side."""
    return f"tap-{name}"
