"""Doctor's look at API hosts: real servers, real certificates, and never a request."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from roundtrip.config import load
from roundtrip.doctor import apis
from roundtrip.doctor.apis import Visits
from roundtrip.doctor.findings import Finding
from tests.doctor.hosts import Hosts
from tests.e2e.world import wait_until

Serve = Callable[[socket.socket], None]


class Server:
    """Listens on loopback; what it was sent after the handshake gathers in `heard`."""

    def __init__(self, serve: Callable[[Server, socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self._serve = serve
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            with connection:
                try:
                    self._serve(self, connection)
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.close()


def _tls(certificate: trustme.LeafCert) -> Callable[[Server, socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    def serve(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            server.heard.append(secured.recv(1000))

    return serve


def _plain(server: Server, connection: socket.socket) -> None:
    server.heard.append(connection.recv(1000))


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(serve: Callable[[Server, socket.socket], None]) -> Server:
        servers.append(Server(serve))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def look(tmp_path: Path, authority: trustme.CA) -> Callable[..., list[Finding]]:
    """Visits one URL, with settings for its host; localhost may be called."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def visit(url: str, host: str, **settings: Any) -> list[Finding]:
        config = tmp_path / "roundtrip.yaml"
        lines = [f"      {key}: {value}" for key, value in {"private": "true", **settings}.items()]
        config.write_text(
            "role: b\npipelines:\n  p:\n    steps:\n"
            f"      - {{name: s, http: {{url: '{url}'}}}}\n"
            f"hosts:\n  '{host}':\n" + "\n".join(lines) + "\n"
        )
        return Visits(load(config)).findings()

    return visit


def _told(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.key, str(each.severity)) for each in found]


def test_a_host_that_is_well_gets_a_handshake_and_no_request(
    start: Any, look: Any, authority: trustme.CA
) -> None:
    server = start(_tls(authority.issue_cert("localhost")))
    found = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}", ca="ca.pem")
    assert _told(found) == [("api-connection", "ok"), ("api-certificate", "ok")]
    wait_until(lambda: server.heard == [b""], "the server has seen the end")


def test_a_plain_host_is_connected_to_and_nothing_is_sent(start: Any, look: Any) -> None:
    server = start(_plain)
    found = look(f"http://localhost:{server.port}/x", f"localhost:{server.port}")
    assert _told(found) == [("api-connection", "ok")]
    wait_until(lambda: server.heard == [b""], "the server has seen the end")


@pytest.mark.parametrize(
    ("names", "days", "told", "words"),
    [
        (["localhost"], -2, ("api-certificate", "error"), "expired"),
        (["localhost"], 3, ("api-certificate", "warning"), "ends soon"),
        (["other.example"], 100, ("api-certificate", "error"), "mismatch"),
    ],
)
def test_a_bad_certificate_is_told(
    start: Any,
    look: Any,
    authority: trustme.CA,
    names: list[str],
    days: int,
    told: tuple[str, str],
    words: str,
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    leaf = authority.issue_cert(
        *names,
        not_before=now - datetime.timedelta(days=90),
        not_after=now + datetime.timedelta(days=days),
    )
    server = start(_tls(leaf))
    found = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}", ca="ca.pem")
    assert _told(found)[-1] == told
    assert words in found[-1].text


def test_an_unknown_authority_is_told(start: Any, look: Any, authority: trustme.CA) -> None:
    server = start(_tls(authority.issue_cert("localhost")))
    [found] = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}")
    assert (found.key, found.severity) == ("api-certificate", "error")
    assert "`ca` in hosts" in found.text


def test_a_file_of_authorities_that_is_none_is_told(start: Any, look: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nonsense")
    server = start(_plain)
    [found] = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}", ca="bad.pem")
    assert (found.key, found.severity) == ("api-certificate", "error")
    assert "ca: not a PEM file" in found.text


def test_nobody_listening_is_told(look: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        [found] = look(f"https://localhost:{port}/x", f"localhost:{port}")
    assert (found.key, found.severity) == ("api-connection", "error")
    assert "refused" in found.text


def test_a_server_that_speaks_no_tls_is_told(start: Any, look: Any) -> None:
    def greet(server: Server, connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n" * 10)
        connection.recv(1000)

    server = start(greet)
    [found] = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}")
    assert (found.key, found.severity) == ("api-connection", "error")
    assert "TLS failed" in found.text


def test_a_server_that_says_nothing_costs_its_time_and_no_more(
    start: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apis, "PATIENCE", 0.5)
    release = threading.Event()
    server = start(lambda server, connection: release.wait(20) and None)
    began = time.monotonic()
    [found] = look(f"https://localhost:{server.port}/x", f"localhost:{server.port}")
    release.set()
    assert time.monotonic() - began < 3
    assert (found.key, found.severity) == ("api-connection", "error")
    assert "the TLS handshake" in found.text


def test_a_name_that_does_not_exist_is_told(look: Any) -> None:
    [found] = look("https://nothing.invalid/x", "nothing.invalid")
    assert (found.key, found.severity) == ("api-name", "error")


def test_a_private_address_needs_leave_as_for_the_agent(start: Any, look: Any) -> None:
    server = start(_plain)
    [found] = look(f"http://localhost:{server.port}/x", f"localhost:{server.port}", private="false")
    assert (found.key, found.severity) == ("api-address", "error")
    assert "private: true" in found.text


def test_an_address_in_the_url_is_allowed_by_that(start: Any, look: Any) -> None:
    server = start(_plain)
    [found] = look(f"http://127.0.0.1:{server.port}/x", "elsewhere.example")
    assert (found.key, found.severity) == ("api-connection", "ok")


def _proxy(status: bytes, target: Server) -> Callable[[Server, socket.socket], None]:
    def serve(server: Server, connection: socket.socket) -> None:
        server.heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nX: y\r\n\r\n")
        if not status.startswith(b"2"):
            return
        with socket.create_connection(("127.0.0.1", target.port)) as through:
            back = threading.Thread(target=_pump, args=(through, connection), daemon=True)
            back.start()
            _pump(connection, through)
            back.join(5)

    return serve


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def test_a_proxy_is_used_as_configured(start: Any, look: Any, authority: trustme.CA) -> None:
    server = start(_tls(authority.issue_cert("api.example")))
    proxy = start(_proxy(b"200 OK", server))
    url = f"http://user:pass%21@localhost:{proxy.port}"
    found = look("https://api.example:444/x", "api.example:444", ca="ca.pem", proxy=url)
    assert _told(found) == [("api-connection", "ok"), ("api-certificate", "ok")]
    [asked] = proxy.heard
    assert asked.startswith(b"CONNECT api.example:444 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpwYXNzIQ==\r\n" in asked
    wait_until(lambda: server.heard == [b""], "the server has seen the end")
    assert "pass" not in " ".join(each.text for each in found)


def test_a_proxy_that_refuses_is_told_without_its_password(start: Any, look: Any) -> None:
    proxy = start(_proxy(b"403 Forbidden", start(_plain)))
    url = f"http://user:secretword@localhost:{proxy.port}"
    [found] = look("https://api.example/x", "api.example", proxy=url)
    assert (found.key, found.severity) == ("api-connection", "error")
    assert "answered 403" in found.text
    assert "secretword" not in found.text


def test_hosts_are_visited_once_and_those_named_by_a_secret_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "roundtrip.yaml"
    config.write_text(
        "role: b\npipelines:\n  p:\n    steps:\n"
        "      - {name: s, http: {url: 'https://one.example/x'}}\n"
        "      - {name: t, http: {url: 'https://one.example/y', auth: {oauth2: {token_url: "
        "'https://login.example/', client_id: i, client_secret: s}}}}\n"
        "      - {name: u, http: {url: '${WHERE}/y'}}\n"
    )
    found = apis.targets(load(config, secrets="named"))
    assert [str(target.where) for target in found] == ["one.example", "login.example"]


def test_doctor_on_host_b_visits_its_hosts(hosts: Hosts, start: Any, authority: trustme.CA) -> None:
    server = start(_tls(authority.issue_cert("localhost")))
    authority.cert_pem.write_to_path(str(hosts.b / "ca.pem"))
    steps = [{"name": "s", "http": {"url": f"https://localhost:{server.port}/"}}]
    place = f"localhost:{server.port}"
    hosts.configure(
        "b",
        pipelines={"p": {"steps": steps}},
        hosts={place: {"private": True, "ca": "ca.pem"}},
    )
    found = hosts.examine("b")
    assert found.severity("api-certificate") == "ok"
    assert hosts.examine("b", "--offline").all("api-connection") == []
