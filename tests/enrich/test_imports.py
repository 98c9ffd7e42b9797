"""Settings and checks stay light: role a and the configuration load them."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["httpx", "aiohttp", "tenacity", "jmespath", "sqlite3"])
def test_settings_and_checks_load_nothing_heavy(module: str) -> None:
    code = "import roundtrip.enrich, roundtrip.enrich.check, sys; print(sys.argv[1] in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
