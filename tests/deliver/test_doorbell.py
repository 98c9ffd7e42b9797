"""The local URL that asks an agent to look: what it does, and all that it doesn't."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from roundtrip.doorbell import Doorbell
from roundtrip.errors import ConfigError
from tests.deliver.conftest import MakeWorld
from tests.deliver.postbox import free_port
from tests.e2e.world import wait_until

WORD = "knock-knock-who-is-there"
TOKEN = f"Bearer {WORD}"


@asynccontextmanager
async def doorbell(rings: list[float]) -> AsyncIterator[Doorbell]:
    made = Doorbell("127.0.0.1:0", WORD, lambda: rings.append(time.monotonic()))
    made.start()
    try:
        yield made
    finally:
        made.stop()


def asked(
    address: tuple[str, int], method: str, path: str, authorization: str | None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    headers = {} if authorization is None else {"Authorization": authorization}
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    ("method", "path", "authorization", "status"),
    [
        ("POST", "/look", TOKEN, 204),
        ("POST", "/look?now", f"bearer  {WORD}", 204),
        ("GET", "/look", TOKEN, 405),
        ("POST", "/", TOKEN, 404),
        ("POST", "/look/../look", TOKEN, 404),
        ("POST", "/look", None, 401),
        ("POST", "/look", TOKEN[:-1], 401),
        ("POST", "/look", f"Basic {WORD}", 401),
        ("GET", "/metrics", None, 401),
    ],
)
async def test_only_who_knows_the_token_can_ask_and_only_for_this(
    method: str, path: str, authorization: str | None, status: int
) -> None:
    rings: list[float] = []
    async with doorbell(rings) as made:
        found = await asyncio.to_thread(asked, made.address, method, path, authorization)
    assert found == (status, b"")
    assert len(rings) == (status == 204)


@pytest.mark.parametrize("head", [b"rubbish\r\n\r\n", b"x" * 20_000, b"POST /look HTTP/1.1\r\n"])
async def test_rubbish_rings_nothing(head: bytes) -> None:
    rings: list[float] = []
    async with doorbell(rings) as made:
        reader, writer = await asyncio.open_connection(*made.address)
        writer.write(head)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert rings == []


async def test_an_address_that_is_taken_is_said_in_one_line() -> None:
    async with doorbell([]) as made:
        host, port = made.address
        with pytest.raises(ConfigError, match=r"look\.listen: .* in use"):
            Doorbell(f"{host}:{port}", "knock", lambda: None).start()


def test_an_agent_looks_when_it_is_asked_to(make_world: MakeWorld) -> None:
    port = free_port()
    world = make_world(
        {},
        look={"listen": f"127.0.0.1:{port}", "token": WORD},
        timing={"rescan": "1h"},
        watch={"backend": "poll", "interval": "1h"},
    )
    world.start()
    world.drop("one.json", b"content")
    time.sleep(0.3)
    assert not world.a.events("published"), "nothing tells the agent of it"
    assert asked(("127.0.0.1", port), "POST", "/look", TOKEN) == (204, b"")
    wait_until(lambda: world.a.events("published"), "the agent has looked")
