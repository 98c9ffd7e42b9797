"""Two agents and an API of somebody else's making, from outbox to inbox."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import World
from tests.enrich.openapi.conftest import Serve

pytestmark = pytest.mark.needs("node", "prism")

ROWS = """\
ip;vat;company
192.0.2.7;811 569 869;"Müller; ""Söhne"" & Co/KG"
2001:db8::7;1+1=2&country=FR;日本 🙂
999.0.2.7;%00;x
"""


def pipeline(geolocation: str, reports: str) -> dict[str, Any]:
    token = {
        "token_url": f"{reports}/oauth/token",
        "client_id": "me@example.org",
        "client_secret": "s+/=: ü",
        "scope": "reports:write reports:read",
        "audience": "https://reports.example/?a=1&b=ü",
    }
    geo = {
        "name": "geo",
        "http": {
            "url": f"{geolocation}/v1/ip/{{ip}}",
            "query": {"fields": "country,city", "lang": "de"},
            "auth": {"key": {"value": "k"}},
        },
        "select": {"city": "city"},
    }
    vat = {
        "name": "vat",
        "http": {
            "method": "POST",
            "url": f"{reports}/checks",
            "auth": {"basic": {"user": "ü r", "password": "p w="}},
            "form": {"country": "DE", "number": "{vat}"},
        },
        "select": {"valid": "valid"},
    }
    report = {
        "name": "report",
        "http": {
            "method": "POST",
            "url": f"{reports}/reports",
            "auth": {"oauth2": token},
            "json": {"company": "{company}", "options": {"depth": 1, "tags": ["{geo.city}"]}},
            "job": {"status": "state", "done": ["finished"], "result": "{document}"},
        },
        "select": {"text": "text"},
    }
    return {"pipelines": {"companies": {"steps": [geo, vat, report]}}}


def test_a_table_comes_back_with_what_three_apis_say(serve: Serve, tmp_path: Path) -> None:
    geolocation, reports = serve("geolocation"), serve("jobs")
    settings = pipeline(geolocation.url, reports.url)
    with World(tmp_path / "world", "", b=settings) as world:
        world.start()
        world.drop("companies.csv", ROWS.encode())
        answer = world.result("companies.csv").decode()
        world.wait_closed()
        assert not world.defects()
    rows = list(csv.DictReader(io.StringIO(answer, newline=""), delimiter=";"))
    assert [row["geo.city"] for row in rows] == ["Besançon", "Besançon", ""]
    assert [row["vat.valid"] for row in rows] == ["true"] * 3
    assert [row["report.text"] for row in rows] == ["Sound.", "Sound.", ""]
    assert "422" in rows[2]["geo.error"]  # no address: the document says so, and so does the API
    asked, refused = geolocation.seen()
    assert len(asked) == 3 and refused
    asked, refused = reports.seen()
    assert (asked.count("post /oauth/token"), asked.count("post /reports")) == (1, 2)
    assert refused == []
