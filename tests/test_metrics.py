"""Metrics of running agents, scraped as Prometheus does, against what the reference says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from roundtrip import exporter as exporter_module
from roundtrip.exporter import Exporter
from tests.e2e.api import Api
from tests.e2e.world import Host, World, wait_until

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "metrics.md"
ROW = re.compile(r"^\| `(roundtrip_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
SECTIONS = {"Both agents": "ab", "Only on A": "a", "Only on B": "b"}


def free_address() -> str:
    """An address where nobody listens now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, api: Api) -> Iterator[World]:
    """Two hosts whose agents serve metrics; a day quota for the API."""
    each = [{"metrics": {"listen": free_address()}} for _ in "ab"]
    hosts = {api.url.removeprefix("http://"): {"quota": {"day": 1000}}}
    with World(tmp_path / "world", api.url, a=each[0], b=each[1] | {"hosts": hosts}) as made:
        yield made
        assert not made.defects()


def address(host: Host) -> str:
    [line] = host.events("metrics served")[-1:]
    found: str = line["address"]
    return found


def scrape(host: Host) -> dict[str, Metric]:
    """The agent's metrics by name, as the page writes it."""
    with urllib.request.urlopen(f"http://{address(host)}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    named = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families
    }
    assert len(named) == len(families)
    return named


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    [found] = [
        each.value for each in metrics[name].samples if labels.items() <= each.labels.items()
    ]
    return float(found)


def documented(role: str) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric that the page promises for a role."""
    found: dict[str, tuple[str, set[str]]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        if role in SECTIONS.get(title, ""):
            for name, kind, labels in ROW.findall(section):
                found[name] = (kind, set(re.findall(r"`(\w+)`", labels)))
    return found


def test_the_reference_says_what_a_scrape_of_each_agent_finds(world: World) -> None:
    world.start()
    world.drop("x.csv", b"key\nk1\nk2\nk1\n")
    world.result("x.csv")
    world.wait_swept()
    for host in (world.a, world.b):
        metrics = scrape(host)
        expected = documented(host.role)
        found = {name for name in metrics if name.startswith("roundtrip_")}
        assert found == expected.keys()
        for name, (kind, labels) in expected.items():
            assert metrics[name].type == kind, name
            assert metrics[name].samples, f"{name} has no value"
            for sample in metrics[name].samples:
                assert sample.labels.keys() - {"le"} == labels, name
        for name in re.findall(r"`(process_\w+)`", PAGE.read_text()):
            assert value(metrics, name) > 0


def test_figures_are_what_has_happened(world: World, api: Api) -> None:
    world.start()
    world.drop("x.csv", b"key\nk1\nk2\nk1\nmissing\n")
    result = world.result("x.csv")
    world.wait_swept()
    a, b = scrape(world.a), scrape(world.b)
    for metrics in (a, b):
        assert value(metrics, "roundtrip_answers_total", outcome="partial") == 1
        assert value(metrics, "roundtrip_publications_total") == 1
        assert value(metrics, "roundtrip_errors_total", kind="defect") == 0
        for role in "ab":
            assert 0 <= value(metrics, "roundtrip_heartbeat_age_seconds", role=role) < 60
    assert value(a, "roundtrip_payload_bytes_total", direction="in") == len(result)
    assert value(b, "roundtrip_payload_bytes_total", direction="out") == len(result)
    assert value(b, "roundtrip_records_total", result="ok") == 3
    assert value(b, "roundtrip_records_total", result="failed") == 1
    assert value(b, "roundtrip_calls_total") == sum(api.calls.values()) == 3
    assert value(b, "roundtrip_calls_saved_total") == 1
    assert value(b, "roundtrip_quota_calls") == 3
    assert value(b, "roundtrip_quota_limit_calls", window="day") == 1000


def test_what_is_wrong_is_counted_and_named(world: World) -> None:
    world.start()
    world.unenriched.rename(world.unenriched.with_name("aside"))
    world.drop("x.csv", b"key\nk1\n")
    wait_until(lambda: world.a.events("trouble"), "A has noticed")
    metrics = scrape(world.a)
    assert value(metrics, "roundtrip_conditions", severity="alarm") == 1
    assert value(metrics, "roundtrip_condition", key="share.unenriched", severity="alarm") == 1
    assert value(metrics, "roundtrip_shares_ok") == 0


def test_a_canary_is_measured(world: World) -> None:
    world.a.configure(json.loads(world.a.config.read_text()) | {"canary": "1s"})
    world.start()
    wait_until(lambda: "roundtrip_canary_seconds" in scrape(world.a), "a canary is back", pause=0.1)
    metrics = scrape(world.a)
    assert 0 < value(metrics, "roundtrip_canary_seconds") < 20
    assert value(metrics, "roundtrip_canaries_total", result="ok") >= 1


def test_what_is_under_way_is_shown(world: World, api: Api) -> None:
    world.start()
    api.hold()
    world.drop("x.csv", b"key\nk1\n")
    wait_until(lambda: api.waiting, "B is asking")
    assert value(scrape(world.a), "roundtrip_exchanges", stage="pending") == 1
    b = scrape(world.b)
    assert value(b, "roundtrip_exchanges", stage="enriching") == 1
    assert value(b, "roundtrip_host_calls", state="running") == 1
    api.release()
    world.result("x.csv")


def test_other_paths_are_not_there_and_the_agent_goes_on(world: World) -> None:
    world.start()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{address(world.a)}/secrets", timeout=10)
    host, _, port = address(world.a).rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b"400" in client.recv(1000)
    assert scrape(world.a)


def test_an_address_that_is_taken_is_said_in_one_line(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = json.loads(world.b.config.read_text())
        world.b.configure(settings | {"metrics": {"listen": listen}})
        done = world.b.run("agent")
    assert done.returncode == 3
    [said] = [line for line in done.stderr.decode().splitlines() if not line.startswith("{")]
    assert f"metrics.listen: {listen}: Address already in use" in said


def test_a_run_with_once_serves_nothing(world: World) -> None:
    done = world.a.run("agent", "--once")
    assert done.returncode == 0
    assert b"metrics served" not in done.stderr


def test_an_agent_that_stops_says_nothing_of_it(world: World) -> None:
    world.start()
    scrape(world.a)
    for host in (world.a, world.b):
        assert host.stop(5) == 0
        assert {line["level"] for line in host.lines()} == {"info"}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_library_is_loaded_only_where_metrics_are_wanted(wanted: bool, world: World) -> None:
    settings = json.loads(world.a.config.read_text())
    if not wanted:
        del settings["metrics"]
    world.a.configure(settings)
    code = (
        "import asyncio, sys\n"
        "from roundtrip.assembly import build_agent\n"
        "from roundtrip.config import load\n"
        "async def build():\n"
        "    build_agent(load(None, 'a'))\n"
        "asyncio.run(build())\n"
        "print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"ROUNDTRIP_CONFIG": str(world.a.config)},
        cwd=PAGE.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(wanted)


class Running:
    """An exporter on this test's event loop, of which it shows one figure."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        self.ages: list[float | None] = []
        self.exporter = Exporter(listen, self.source, folder, "b")

    def source(self, age: float | None) -> list[Metric]:
        self.ages.append(age)
        return [GaugeMetricFamily("roundtrip_figure", "A figure.", value=7.0)]

    def get(self) -> str:
        """Scrape; for a thread, since it waits for the loop."""
        assert self.exporter.address is not None
        with urllib.request.urlopen(f"http://{self.exporter.address}/", timeout=10) as answer:
            text: str = answer.read().decode()
        return text


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.exporter.stop()


async def test_a_loop_that_is_busy_is_seen_by_its_lag(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_module, "PATIENCE", 0.05)
    running.exporter.start()
    scrape = asyncio.get_running_loop().run_in_executor(None, running.get)
    time.sleep(0.5)  # The loop is busy.
    text = await scrape
    assert "roundtrip_figure" not in text
    [lag] = re.findall(r"^roundtrip_loop_lag_seconds (\S+)", text, re.MULTILINE)
    assert float(lag) >= 0.05
    assert "roundtrip_figure 7.0" in await asyncio.to_thread(running.get), "it recovers"


async def test_the_peer_s_age_is_that_of_its_newest_life_sign_only(
    running: Running, tmp_path: Path
) -> None:
    running.exporter.start()
    await asyncio.to_thread(running.get)
    now = time.time()
    ages = {
        "alive-b-01ARZ3NDEKTSV4RRFFQ69G5FAV.json": 500,
        "alive-b-01ARZ3NDEKTSV4RRFFQ69G5FAW.json": 60,
        "alive-a-01ARZ3NDEKTSV4RRFFQ69G5FAX.json": 1,
        "share.json": 1,
    }
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    await asyncio.to_thread(running.get)
    assert running.ages == [None, pytest.approx(60, abs=10)]


async def test_a_defect_in_a_figure_is_logged_and_the_next_scrape_served(
    running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [ZeroDivisionError("a defect")]

    def source(age: float | None) -> list[Metric]:
        if broken:
            raise broken.pop()
        return running.source(age)

    running.exporter = Exporter("127.0.0.1:0", source, tmp_path, "b")
    running.exporter.start()
    with pytest.raises(OSError):
        await asyncio.to_thread(running.get)
    assert "metrics not served" in caplog.text
    assert "roundtrip_figure 7.0" in await asyncio.to_thread(running.get)


async def test_an_ipv6_address_is_listened_at(tmp_path: Path) -> None:
    made = Running(tmp_path, "[::1]:0")
    made.exporter.start()
    try:
        assert made.exporter.address is not None
        assert made.exporter.address.startswith("[::1]:")
        assert "roundtrip_figure 7.0" in await asyncio.to_thread(made.get)
    finally:
        made.exporter.stop()
