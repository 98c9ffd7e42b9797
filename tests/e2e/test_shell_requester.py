"""A requester of ten lines of sh, and requesters that don't keep to the rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.conftest import MakeWorld
from tests.e2e.payloads import sample
from tests.e2e.world import REPOSITORY, World, visible, wait_until

DOCUMENT = REPOSITORY / "docs/reference/protocol.md"
ASKED = sample(Random(8), "orders.csv", 3000)


def requester() -> str:
    """The script as the documentation prints it."""
    blocks = re.findall(
        r"^```sh\n(# ten-line requester\n.*?)^```$", DOCUMENT.read_text(), re.M | re.S
    )
    assert len(blocks) == 1, f"{DOCUMENT} should have one block '# ten-line requester'"
    return str(blocks[0])


def ask(world: World, path: Path, script: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the requester; what it writes to standard output is the answer."""
    environment = {
        **os.environ,
        "UNENRICHED": str(world.unenriched),
        "ENRICHED": str(world.enriched),
    }
    return subprocess.run(
        ["sh", script, path], env=environment, capture_output=True, timeout=30, check=False
    )


def put(world: World, name: str, content: bytes) -> None:
    """Request by hand, with an empty marker."""
    (world.unenriched / name).write_bytes(content)
    (world.unenriched / f"{name}.done").touch()


def test_the_documented_requester_has_ten_lines_at_most() -> None:
    lines = [line for line in requester().splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 10


def test_the_documented_requester_gets_its_answer_and_leaves_nothing(
    world: World, tmp_path: Path
) -> None:
    script = tmp_path / "requester.sh"
    script.write_text(requester())
    path = tmp_path / ASKED.name
    path.write_bytes(ASKED.content)
    world.b.start()
    done = ask(world, path, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ASKED.result
    world.wait_swept()


def test_a_request_that_is_never_removed_is_enriched_once(world: World, api: Api) -> None:
    world.b.start()
    put(world, "x.raw", b"x")
    wait_until((world.enriched / "x.raw.done").exists, "an answer")
    for _ in range(3):
        world.b.kill()
        world.b.start()
    put(world, "y.raw", b"y")  # When this is answered, B had its chance.
    wait_until((world.enriched / "y.raw.done").exists, "another answer")
    assert api.calls == {"echo:x.raw": 1, "echo:y.raw": 1}


def test_an_answer_that_the_requester_removes_is_given_again_a_few_times_then_held(
    make_world: MakeWorld, api: Api
) -> None:
    world = make_world(b={"limits": {"answers": 4}, "timing": {"settle": 0.1, "grace": 0.5}})
    world.b.start()
    put(world, "x.raw", b"x")
    marker = world.enriched / "x.raw.done"
    for number in range(4):
        wait_until(marker.exists, f"answer {number + 1}")
        assert (world.enriched / "x.raw").read_bytes() == b"x"
        marker.unlink()
        (world.enriched / "x.raw").unlink()
        _take_notice(world, number)
    report = world.b.folder("quarantine/x.raw.json")
    wait_until(report.exists, "a report")
    assert json.loads(report.read_bytes())["kind"] == "held"
    world.b.kill()
    world.b.start()
    put(world, "y.raw", b"y")
    wait_until((world.enriched / "y.raw.done").exists, "another answer")
    assert not marker.exists()
    assert api.calls == {"echo:x.raw": 1, "echo:y.raw": 1}
    status = world.b.run("status", "--json").stdout
    assert json.loads(status)["folders"]["quarantine"] == 1


def _take_notice(world: World, number: int) -> None:
    """B gets no event for what goes from Enriched; a touch of the request's marker is one."""
    marker = world.unenriched / "x.raw.done"
    marker.unlink()
    marker.touch()


def test_the_same_name_with_another_content_is_another_request(world: World, api: Api) -> None:
    world.b.start()
    for content in (b"one", b"two"):
        put(world, "x.raw", content)
        wait_until((world.enriched / "x.raw.done").exists, "an answer")
        assert (world.enriched / "x.raw").read_bytes() == content
        (world.unenriched / "x.raw.done").unlink()
        (world.unenriched / "x.raw").unlink()
        wait_until(lambda: not visible(world.enriched), "B has swept")
    assert api.calls == {"echo:x.raw": 2}


def test_a_marker_that_grows_is_waited_for(world: World) -> None:
    world.b.start()
    (world.unenriched / "x.raw").write_bytes(b"x")
    text = json.dumps({"v": 1, "original_name": "given.raw", "pipeline": "turn"}).encode()
    with (world.unenriched / "x.raw.done").open("wb", buffering=0) as marker:
        for byte in text:
            marker.write(bytes([byte]))
    wait_until((world.enriched / "x.raw.done").exists, "an answer")
    assert (world.enriched / "x.raw").read_bytes() != b"x"


@pytest.mark.parametrize(
    "marker", [b"{", b'{"v": 7}', b"x" * 70_000, b'{"v":1,"size":1,"sha256":"no"}']
)
def test_an_unusable_marker_is_answered_failed(marker: bytes, world: World, api: Api) -> None:
    world.b.start()
    (world.unenriched / "x.raw").write_bytes(b"x")
    (world.unenriched / "x.raw.done").write_bytes(marker)
    answer = world.enriched / "x.raw.done"
    wait_until(answer.exists, "an answer")
    assert json.loads(answer.read_bytes())["outcome"] == "failed"
    assert not api.calls


def test_empty_markers_can_be_refused(make_world: MakeWorld) -> None:
    shares = {"unenriched": {"path": "Unenriched", "empty_marker": "refuse"},
              "enriched": "../hostA/Enriched"}  # fmt: skip
    world = make_world(b={"shares": shares})
    world.b.start()
    put(world, "x.raw", b"x")
    answer = world.enriched / "x.raw.done"
    wait_until(answer.exists, "an answer")
    assert json.loads(answer.read_bytes())["outcome"] == "failed"
