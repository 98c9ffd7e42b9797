"""What may leave, and where to: the guard's decisions, and the ways around it that there aren't."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roundtrip.enrich.egress import Guard, Place, Refused, kind, place, plain, sent
from roundtrip.enrich.redirects import Redirects
from roundtrip.enrich.settings import (
    Auth,
    Batch,
    HostSettings,
    HttpSettings,
    Job,
    LookupSettings,
    Pipeline,
    StepSettings,
)
from roundtrip.enrich.transport import (
    MAX_HEADERS,
    MAX_LINE,
    AiohttpTransport,
    GuardedResolver,
)
from tests.enrich.steps import http_step

Names = dict[str, list[str]]


def guard(*urls: str, **hosts: HostSettings) -> Guard:
    """A guard for steps that call these URLs."""
    steps = tuple(http_step(f"s{number}", url) for number, url in enumerate(urls))
    return Guard([Pipeline("p", steps)], hosts)


def passes(guarded: Guard, url: str) -> bool:
    """Whether the guard lets a request to this URL go, addresses aside."""
    try:
        guarded.check(place(sent(url)))
    except (Refused, ValueError):
        return False
    return True


ADDRESSES = [
    ("127.0.0.1", "a loopback"),
    ("127.255.0.9", "a loopback"),
    ("10.1.2.3", "a private"),
    ("172.16.0.1", "a private"),
    ("192.168.1.1", "a private"),
    ("100.64.0.1", "a reserved"),  # carrier-grade NAT, RFC 6598
    ("100.100.100.200", "a reserved"),  # a cloud's metadata service
    ("169.254.169.254", "a link-local"),  # most clouds' metadata service
    ("192.0.0.192", "a reserved"),  # another's
    ("168.63.129.16", "a reserved"),  # and one with a public number
    ("0.0.0.0", "an unspecified"),
    ("0.1.2.3", "a reserved"),
    ("224.0.0.1", "a multicast"),
    ("240.0.0.1", "a reserved"),
    ("255.255.255.255", "a reserved"),
    ("198.18.0.1", "a reserved"),
    ("192.0.2.1", "a reserved"),
    ("::1", "a loopback"),
    ("::", "an unspecified"),
    ("fe80::1", "a link-local"),
    ("fe80::1%eth0", "a link-local"),
    ("fec0::1", "a reserved"),
    ("fd00:ec2::254", "a private"),  # a cloud's metadata service
    ("ff02::1", "a multicast"),
    ("::ffff:127.0.0.1", "a loopback"),
    ("::ffff:169.254.169.254", "a link-local"),
    ("::127.0.0.1", "a reserved"),
    ("64:ff9b::10.0.0.1", "a private"),
    ("64:ff9b::169.254.169.254", "a link-local"),
    ("64:ff9b:1::1", "a reserved"),
    ("2002:7f00:1::", "a loopback"),
    ("2002:a9fe:a9fe::", "a link-local"),
    ("2001::1", "a reserved"),
    ("2001:db8::1", "a reserved"),
    ("3fff::1", "a reserved"),
    ("5f00::1", "a reserved"),
    ("not an address", "an unknown"),
    ("8.8.8.8", None),
    ("1.1.1.1", None),
    ("2606:4700::1111", None),
    ("::ffff:8.8.8.8", None),
    ("64:ff9b::8.8.8.8", None),
    ("2002:808:808::", None),
]


@pytest.mark.parametrize(("address", "expected"), ADDRESSES, ids=[a for a, _ in ADDRESSES])
def test_an_address_is_public_or_of_a_sort_that_is_not(address: str, expected: str | None) -> None:
    assert kind(address) == expected


def test_the_documentation_says_what_an_address_is() -> None:
    text = (Path(__file__).parents[2] / "docs/explanation/egress.md").read_text()
    rows = re.findall(r"^\| `([0-9a-f:.]+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 10
    for address, said in rows:
        sort = kind(address)
        assert said == (f"{sort} address" if sort else "public"), address
    assert f"{MAX_HEADERS} of them, {MAX_LINE} bytes each" in text


@given(st.ip_addresses())
def test_no_address_that_python_calls_private_counts_as_public(address: Any) -> None:
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if inner.is_private or inner.is_multicast or inner.is_reserved or not inner.is_global:
        assert kind(str(address)) is not None or str(address).startswith("64:ff9b::")


NAMED = [
    ("https://api.example.org/{ip}", "https://api.example.org/x?y", True),
    ("https://api.example.org", "https://API.Example.ORG/", True),
    ("https://api.example.org", "https://api.example.org./", True),
    ("https://api.example.org", "https://api.example.org:443/", True),
    ("https://api.example.org", "https://api.example.org:8443/", False),
    ("https://api.example.org", "http://api.example.org/", False),
    ("http://api.example.org", "https://api.example.org/", True),  # what a redirect may lead to
    ("http://api.example.org:8080", "https://api.example.org/", False),
    ("https://api.example.org", "https://example.org/", False),
    ("https://api.example.org", "https://x.api.example.org/", False),
    ("https://api.example.org", "https://api.example.org@evil.example/", False),
    ("https://api.example.org", "https://api.example.org:x@evil.example/", False),
    ("https://api.example.org", "https://evil.example\\@api.example.org/", True),  # goes there, too
    ("https://api.example.org", "https://api.example.org\\@evil.example/", False),
    ("https://api.example.org", "https://evil.example#@api.example.org/", False),
    ("https://api.example.org", "https://evil.example?@api.example.org/", False),
    ("https://api.example.org", "https://api%2Eexample%2Eorg/", False),
    ("https://api.example.org", "ftp://api.example.org/", False),
    ("https://api.example.org", "https:///api.example.org/", False),
    ("https://user:pw@api.example.org", "https://api.example.org/", True),
    ("https://bücher.example", "https://xn--bcher-kva.example/", True),
    ("http://127.0.0.1:80", "http://127.0.0.1/", True),
    ("http://127.0.0.1", "http://127.1/", False),
    ("http://127.0.0.1", "http://2130706433/", False),
    ("http://127.0.0.1", "http://0x7f.1/", False),
    ("http://127.0.0.1", "http://0177.0.0.1/", False),
    ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/", False),
    ("http://127.0.0.1", "http://%31%32%37.0.0.1/", False),
    ("http://127.0.0.1", "http://localhost/", False),
    ("http://[::1]", "http://[0:0:0:0:0:0:0:1]/", True),
    ("https://api.example.org", "https://169.254.169.254/latest/meta-data/", False),
]


@pytest.mark.parametrize(("step", "url", "expected"), NAMED, ids=[f"{s} {u}" for s, u, _ in NAMED])
def test_only_a_named_host_and_port_is_called(step: str, url: str, expected: bool) -> None:
    assert passes(guard(step), url) is expected


def test_every_url_of_a_step_names_its_host() -> None:
    action = HttpSettings(
        "https://one.example/",
        auth=Auth("oauth2", token_url="https://two.example/token"),
        job=Job(url="https://three.example/{id}", result="https://four.example/{id}/result"),
    )
    other = StepSettings("t", LookupSettings("https://five.example/", "{x}"), batch=Batch(2))
    found = Guard([Pipeline("p", (StepSettings("s", action), other))])
    names = ("one", "two", "three", "four", "five", "six")
    assert [name for name in names if passes(found, f"https://{name}.example/")] == [*names[:4]]


def test_a_place_beside_the_steps_own_needs_no_host() -> None:
    action = HttpSettings("https://one.example/", job=Job(url="/jobs/{id}", result="{+url}"))
    found = Guard([Pipeline("p", (StepSettings("s", action),))])
    assert passes(found, "https://one.example/jobs/1")


HOSTS = [
    ("api.example.org", "https://api.example.org/", True),
    ("api.example.org", "http://api.example.org/", True),
    ("api.example.org", "http://api.example.org:8080/", False),
    ("api.example.org:8080", "http://api.example.org:8080/", True),
    ("api.example.org:8080", "http://api.example.org/", False),
    ("API.example.org.", "https://api.example.org/", True),
    ("[2606:4700::1]:8080", "http://[2606:4700::1]:8080/", True),
    ("2606:4700::1", "http://[2606:4700:0::1]/", True),
    ("10.0.0.1", "http://10.0.0.1/", False),  # named, but no step's URL has it
]


@pytest.mark.parametrize(("name", "url", "expected"), HOSTS, ids=[f"{h} {u}" for h, u, _ in HOSTS])
def test_an_entry_of_hosts_names_a_host(name: str, url: str, expected: bool) -> None:
    assert passes(Guard(hosts={name: HostSettings(name)}), url) is expected


def test_settings_for_a_port_go_before_those_for_the_host() -> None:
    all_ports, one_port = HostSettings("h.example"), HostSettings("h.example:8080", private=True)
    found = Guard(hosts={"h.example": all_ports, "h.example:8080": one_port})
    assert found.settings(Place("h.example", 8080)) is one_port
    assert found.settings(Place("h.example", 81)) is all_ports
    assert found.settings(Place("other.example", 81)) is None


def test_a_hosts_entry_that_is_no_host_is_an_error() -> None:
    with pytest.raises(ValueError, match="hosts: not a host"):
        Guard(hosts={"not a host:x": HostSettings("not a host:x")})


def test_an_address_in_hosts_alone_needs_leave_like_any_private_one() -> None:
    assert passes(
        Guard(hosts={"10.0.0.1": HostSettings("10.0.0.1", private=True)}), "http://10.0.0.1"
    )


@pytest.mark.parametrize(
    ("settings", "address", "expected"),
    [
        (None, "10.0.0.1", "a private"),
        (HostSettings("h.example"), "127.0.0.1", "a loopback"),
        (HostSettings("h.example", private=True), "127.0.0.1", None),
        (HostSettings("h.example", private=True), "169.254.169.254", None),
        (None, "8.8.8.8", None),
    ],
)
def test_a_name_may_be_at_a_private_address_only_with_leave(
    settings: HostSettings | None, address: str, expected: str | None
) -> None:
    found = Guard(hosts={"h.example": settings} if settings else {})
    assert found.forbidden(Place("h.example", 80), address) == expected


@settings(max_examples=50)
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_in_a_url_reaches_a_host_that_is_not_named(user: str, rest: str) -> None:
    found = guard("https://good.example/")
    for text in (f"https://good.example{rest}", f"https://{user}@evil.example/{rest}"):
        try:
            where = place(sent(text))
        except ValueError:
            continue
        assert passes(found, text) is (where == Place("good.example", 443))


@pytest.mark.parametrize("host", ["0x7f.1", "127.1", "2130706433", "a..", "EXAMPLE.org."])
def test_an_odd_spelling_of_an_address_stays_a_name(host: str) -> None:
    assert plain(host) == host.lower().rstrip(".")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What the system's resolver says: names and their addresses, the last list for ever."""
    known: dict[str, list[Any]] = {}

    def getaddrinfo(host: Any, port: int, *_: Any, **__: Any) -> list[Any]:
        text = host.decode() if isinstance(host, bytes) else host
        if text not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = known[text]
        addresses = answers.pop(0) if isinstance(answers[0], list) and len(answers) > 1 else answers
        addresses = addresses[0] if isinstance(addresses[0], list) else addresses
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (each, port, 0, 0) if ":" in each else (each, port),
            )
            for each in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
async def client() -> AsyncIterator[Callable[[Guard], httpx.AsyncBaseTransport]]:
    made: list[httpx.AsyncBaseTransport] = []

    def make(guarded: Guard) -> httpx.AsyncBaseTransport:
        made.append(Redirects(AiohttpTransport(guarded)))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()


async def get(transport: httpx.AsyncBaseTransport, url: str) -> int:
    response = await transport.handle_async_request(httpx.Request("GET", url))
    await response.aclose()
    return response.status_code


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        ["10.0.0.1", "192.168.0.1"],
        ["0.0.0.0"],
    ],
)
async def test_a_name_at_private_addresses_is_not_called(
    names: Names, client: Any, api: Any, addresses: list[str]
) -> None:
    port = api.url.rpartition(":")[2]
    names["api.example"] = addresses
    transport = client(guard(f"http://api.example:{port}/"))
    with pytest.raises(Refused) as caught:
        await get(transport, f"http://api.example:{port}/secret?key=SECRET")
    assert f'set private: true for "api.example:{port}" in hosts' in str(caught.value)
    assert "secret" not in str(caught.value).lower()
    assert api.seen == []


async def test_a_name_at_a_private_address_is_called_with_leave(
    names: Names, client: Any, api: Any
) -> None:
    port = api.url.rpartition(":")[2]
    names["api.example"] = ["127.0.0.1"]
    leave = {"api.example": HostSettings("api.example", private=True)}
    transport = client(guard(f"http://api.example:{port}/", **leave))
    assert await get(transport, f"http://api.example:{port}/") == 200


@pytest.mark.parametrize(
    "spelled", ["0x7f.1", "0x7f000001", "localhost", "LOCALHOST", "localhost."]
)
async def test_a_loopback_address_in_disguise_is_not_called_even_when_named(
    client: Any, api: Any, spelled: str
) -> None:
    url = f"http://{spelled}:{api.url.rpartition(':')[2]}/"
    with pytest.raises(httpx.TransportError):
        await get(client(guard(url)), url)
    assert api.seen == []


@pytest.mark.parametrize("spelled", ["127.1", "2130706433", "0177.0.0.1"])
async def test_an_odd_number_is_not_called_even_when_named(
    client: Any, api: Any, spelled: str
) -> None:
    url = f"http://{spelled}:{api.url.rpartition(':')[2]}/"
    with pytest.raises((httpx.TransportError, httpx.InvalidURL)):
        await get(client(guard(url)), url)
    assert api.seen == []


async def test_of_mixed_answers_only_public_addresses_are_used(names: Names) -> None:
    names["api.example"] = ["127.0.0.1", "8.8.8.8", "10.0.0.1", "2606:4700::1111"]
    found = await GuardedResolver(guard("http://api.example")).resolve("api.example", 80)
    assert [each["host"] for each in found] == ["8.8.8.8", "2606:4700::1111"]


async def test_a_name_that_changes_its_address_is_judged_again(names: Names) -> None:
    names["api.example"] = [["8.8.8.8"], ["127.0.0.1"]]  # type: ignore[list-item]
    resolver = GuardedResolver(guard("http://api.example"))
    assert [each["host"] for each in await resolver.resolve("api.example", 80)] == ["8.8.8.8"]
    with pytest.raises(Refused):
        await resolver.resolve("api.example", 80)


async def test_the_address_that_was_judged_is_the_one_connected_to(
    names: Names, client: Any, api: Any
) -> None:
    """The second look-up of a rebinding name is never made: the judged answer is used."""
    port = api.url.rpartition(":")[2]
    names["api.example"] = [["127.0.0.1"], ["127.0.0.99"]]  # type: ignore[list-item]
    leave = {"api.example": HostSettings("api.example", private=True)}
    transport = client(guard(f"http://api.example:{port}/", **leave))
    assert await get(transport, f"http://api.example:{port}/") == 200
    assert len(names["api.example"]) == 1


async def test_a_host_that_is_not_named_is_not_even_looked_up(names: Names, client: Any) -> None:
    with pytest.raises(Refused) as caught:
        await get(client(guard("https://good.example/")), "https://evil.example:8443/x?key=SECRET")
    said = 'evil.example:8443 is not a host that the configuration names; to allow it, add "evil.'
    assert str(caught.value).startswith(said)
    assert "SECRET" not in str(caught.value)
