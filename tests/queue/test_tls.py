"""Brokers behind TLS, each a real server with a certificate."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from roundtrip.queue.address import broker
from roundtrip.queue.port import BrokerAway
from tests.queue.servers import Nats, Rabbit, Redis, Server

_SERVERS = [
    pytest.param(Redis, marks=pytest.mark.needs("redis-server")),
    pytest.param(Nats, marks=pytest.mark.needs("nats-server")),
    pytest.param(Rabbit, marks=pytest.mark.needs("rabbitmq-server")),
]

AUTHORITIES = "SSL_CERT_FILE"
"""Says where the system's authorities are (SSL_CTX_set_default_verify_paths(3))."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=_SERVERS, scope="module")
def server(
    request: pytest.FixtureRequest,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server that speaks nothing but TLS."""
    made: Server = request.param(tmp_path_factory.mktemp("tls"), tls=True)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made.certificate)
    with made.certificate.open("ab") as pem:  # So that whoever waits for it can verify it.
        pem.write(authority.cert_pem.bytes())
    try:
        made.start()
        yield made
    finally:
        made.end()


async def test_a_broker_with_a_certificate_of_a_known_authority_is_used(
    server: Server, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv(AUTHORITIES, str(tmp_path / "authority.pem"))
    here = broker(server.url, "secret", idle=2.0)
    await here.connect()
    await here.consume(1)
    await here.publish("job")
    async with asyncio.timeout(10):
        found = await here.take()
    assert found.job == "job"
    await here.ack(found)
    await here.aclose()


async def test_a_certificate_of_an_unknown_authority_is_refused(server: Server) -> None:
    here = broker(server.url, "secret", idle=2.0)
    with pytest.raises(BrokerAway, match="certificate verify failed"):
        await here.connect()


@pytest.mark.parametrize("scheme", ["amqps", "rediss", "tls"])
async def test_where_the_address_says_tls_no_password_goes_in_the_clear(scheme: str) -> None:
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","auth_required":true,"max_payload":1000}\r\n')
        while found := await reader.read(1000):
            heard.extend(found)
        writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    async with await asyncio.start_server(serve, sock=listening):
        here = broker(f"{scheme}://me:open-sesame@127.0.0.1:{port}", "secret", idle=2.0)
        with pytest.raises(BrokerAway):
            async with asyncio.timeout(30):
                await here.connect()
        await here.aclose()
    assert b"open-sesame" not in heard
