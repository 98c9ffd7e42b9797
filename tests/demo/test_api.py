"""The sample API, asked over real sockets."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from roundtrip.demo.api import Server, load, serving


@pytest.fixture(scope="module")
def api() -> Iterator[Server]:
    with serving(latency=0) as server:
        yield server


@pytest.fixture
def connection(api: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", api.server_address[1], timeout=5)
    yield connection
    connection.close()


def get(
    connection: http.client.HTTPConnection, path: str
) -> tuple[http.client.HTTPResponse, dict[str, Any]]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response, json.loads(response.read())


def test_a_country_is_answered_from_the_shipped_data(
    connection: http.client.HTTPConnection,
) -> None:
    response, body = get(connection, "/countries/DE")
    assert (response.status, response.getheader("Content-Type")) == (200, "application/json")
    assert (body["name"], body["capital"], body["currency"]) == ("Germany", "Berlin", "EUR")
    assert body["population"] > 80_000_000
    assert "CH" in body["neighbours"]


def test_a_code_is_found_in_lower_case_and_percent_encoded(
    connection: http.client.HTTPConnection,
) -> None:
    _, body = get(connection, "/airports/%6chr?unused=1")
    assert (body["iata"], body["country"], body["timezone"]) == ("LHR", "GB", "Europe/London")


@pytest.mark.parametrize(
    "path", ["/countries/QQ", "/countries/", "/planets/EARTH", "/", "/countries/%2e%2e%2fSOURCE.md"]
)
def test_what_is_unknown_gets_a_problem_document(
    connection: http.client.HTTPConnection, path: str
) -> None:
    response, body = get(connection, path)
    assert response.status == 404
    assert response.getheader("Content-Type") == "application/problem+json"
    assert (body["title"], body["status"]) == ("Not Found", 404)


def test_one_connection_serves_many_requests(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    socket = connection.sock
    for code in ("FR", "QQ", "JP"):
        get(connection, f"/countries/{code}")
        assert connection.sock is socket


def test_the_country_whose_code_spells_na_is_there() -> None:
    assert load()["countries"]["NA"]["name"] == "Namibia"


def test_a_burst_of_connections_does_not_wait_for_a_retransmission(api: Server) -> None:
    started = time.monotonic()
    sockets = [socket.create_connection(("127.0.0.1", api.server_address[1])) for _ in range(100)]
    for each in sockets:
        each.close()
    assert time.monotonic() - started < 0.9  # TCP tries again after 1 s
