"""What the guests find at the bridge's address: packages to install, and the API that B asks.

    python -m tests.lab.services PACKAGES

It runs in the lab's namespace until it is ended, and writes to RUN/calls.json, twice a second, how
often each thing was asked for, and when what is limited (tests/e2e/api.py).
"""

from __future__ import annotations

import functools
import json
import sys
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.e2e.api import Api
from tests.lab.names import API_PORT, GATEWAY, LIMITED, PACKAGES_PORT, RUN

_LOOK = 0.5


def main() -> None:
    """Serve."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=sys.argv[1])
    packages = ThreadingHTTPServer((GATEWAY, PACKAGES_PORT), handler)
    Thread(target=packages.serve_forever, daemon=True).start()
    with Api(GATEWAY, API_PORT) as api:
        while True:
            part = RUN / "calls.part"
            times = {action: list(api.times[action]) for action in LIMITED}
            part.write_text(json.dumps({"calls": dict(api.calls), "times": times}))
            part.rename(RUN / "calls.json")
            time.sleep(_LOOK)


if __name__ == "__main__":
    main()
