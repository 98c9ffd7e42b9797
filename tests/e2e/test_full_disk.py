"""Disks that fill up: real agents on small tmpfs mounts, and everything arrives exactly once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.e2e.api import Api
from tests.e2e.payloads import Sample, sample
from tests.e2e.world import Host, World, visible, wait_until

pytestmark = pytest.mark.needs("mount")

KI, MI = 1024, 1024 * 1024
FAST = {"heartbeat": "1s", "rescan": "30s"}


class Disks:
    """Puts the folders of a world's hosts on disks of their own."""

    def __init__(self) -> None:
        self._mounted: list[Path] = []

    def move(self, host: Host, options: str, folder: str = ".") -> Path:
        """Move one of the host's folders, with all in it, to a tmpfs; its log stays outside."""
        path = (host.root / folder).resolve()
        log = host.root.with_name(f"{host.root.name}.log")
        host.log = log
        staged = path.with_name(f"{path.name}.staged")
        shutil.copytree(path, staged, symlinks=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", path], check=True)
        self._mounted.append(path)
        shutil.copytree(staged, path, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(staged)
        return path

    def end(self) -> None:
        """Take all disks away."""
        for path in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def disks() -> Iterator[Disks]:
    found = Disks()
    yield found
    found.end()


@pytest.fixture
def world(tmp_path: Path, api: Api, disks: Disks) -> Iterator[World]:
    limits = {"reserve": "1MiB"}
    b = {"limits": limits, "timing": FAST}
    with World(tmp_path / "world", api.url, a=b | {"archive": "off"}, b=b) as found:
        yield found
        assert not found.defects(), found.log_tails()


class Filler:
    """Takes what is left on a disk."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / ".filler"  # No name of an exchange: it would be swept

    def fill(self, leave: int = 0) -> None:
        """Leave at most so many bytes free."""
        with self._path.open("ab", buffering=0) as file:
            while (left := free(self._path.parent) - leave) > 0:
                try:
                    file.write(bytes(min(left, MI)))
                except OSError:
                    break

    def free(self) -> None:
        """Give it back."""
        self._path.unlink()


def free(path: Path) -> int:
    """Bytes free on a disk."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def conditions(host: Host) -> dict[str, str]:
    """What the agent says is wrong: texts by key."""
    try:
        report = json.loads(host.folder(f"state/health-{host.role}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {each["key"]: each["text"] for each in report["conditions"]}


def samples(count: int, size: int) -> list[Sample]:
    """Files that come back as large as they went."""
    return [sample(Random(number), f"{number}.bin", size) for number in range(count)]


def drop(world: World, asked: list[Sample]) -> None:
    """Hand all in."""
    for each in asked:
        world.drop(each.name, each.content)


def once(world: World, asked: list[Sample]) -> None:
    """Everything comes back, right bit for bit, once, and nothing is left anywhere."""
    wait_until(lambda: len(visible(world.inbox)) >= len(asked), "all results", 60, 0.05)
    world.wait_closed(30)
    world.wait_swept(30)
    assert visible(world.inbox) == sorted(each.name for each in asked)
    for each in asked:
        assert (world.inbox / each.name).read_bytes() == each.result


def test_200_exchanges_pass_through_two_disks_that_hold_a_few_of_them(
    world: World, disks: Disks
) -> None:
    disks.move(world.a, "size=4m")
    disks.move(world.b, "size=4m", "Unenriched")
    asked = samples(200, 30 * KI)
    world.start()
    taken = pass_through(world, asked)
    assert taken == {each.name: each.result for each in asked}
    world.wait_closed(30)
    delivered = [line["exchange"] for line in world.a.events("delivered")]
    assert len(delivered) == len(set(delivered)) == len(asked)


def pass_through(world: World, asked: list[Sample]) -> dict[str, bytes]:
    """Drop files while there is room, and take the results away, as their users would."""
    waiting = list(reversed(asked))
    taken: dict[str, bytes] = {}

    def all_taken() -> bool:
        while waiting and free(world.a.root) > 3 * MI // 2:
            each = waiting.pop()
            world.drop(each.name, each.content)
        for name in visible(world.inbox):
            assert name not in taken, f"{name} came twice"
            taken[name] = (world.inbox / name).read_bytes()
            (world.inbox / name).unlink()
        return len(taken) == len(asked)

    wait_until(all_taken, "all results", 60, 0.02)
    return taken


def test_nothing_is_published_on_a_full_disk_and_all_of_it_once_there_is_room(
    world: World, disks: Disks
) -> None:
    share = disks.move(world.b, "size=8m", "Unenriched")
    filler = Filler(share)
    filler.fill()
    world.start()
    asked = samples(20, 10 * KI)
    drop(world, asked)
    wait_until(lambda: "space.unenriched" in conditions(world.a), "it is told")
    text = conditions(world.a)["space.unenriched"]
    assert str(share) in text and "limits.reserve keeps 1.0 MiB" in text
    wait_until(lambda: len(visible(world.a.folder("state/pending"))) == 20, "all are taken in")
    assert visible(share) == []
    filler.free()
    once(world, asked)
    wait_until(lambda: not conditions(world.a), "the trouble is over")
    refused = [line for line in world.a.lines() if line["event"] in ("held", "trouble")]
    assert len(refused) < 5, "one trouble, not one for each exchange"


def test_a_starts_and_collects_while_the_disk_that_it_writes_to_is_full(
    world: World, disks: Disks
) -> None:
    share = disks.move(world.b, "size=8m", "Unenriched")
    asked = samples(5, 10 * KI)
    world.a.start()
    drop(world, asked)
    wait_until(lambda: len(visible(share)) == 10, "all are published")
    world.a.kill()
    filler = Filler(share)
    filler.fill()
    world.b.start()
    wait_until(lambda: len(visible(world.enriched)) == 10, "all are answered")
    world.a.start()
    for each in asked:
        assert world.result(each.name) == each.result
    assert world.a.events("share lost; waiting for it") == []
    filler.free()
    once(world, asked)


def test_a_large_payload_that_does_not_fit_holds_up_no_small_one(
    world: World, disks: Disks
) -> None:
    disks.move(world.b, "size=8m", "Unenriched")
    large = sample(Random(0), "large.bin", 8 * MI)
    small = samples(5, 10 * KI)
    world.start()
    drop(world, [large])
    wait_until(lambda: "space.unenriched" in conditions(world.a), "it is told")
    drop(world, small)
    for each in small:
        assert world.result(each.name) == each.result
    pending = visible(world.a.folder("state/pending"))
    assert [name.endswith("large.bin") for name in pending] == [True]
    subprocess.run(["mount", "-o", "remount,size=32m", world.unenriched], check=True)
    once(world, [large, *small])


def test_answers_wait_where_they_are_while_a_has_no_room_for_copies(
    world: World, disks: Disks
) -> None:
    """Even the half of the reserve that is A's own; what is in the outbox stays there, too."""
    share = disks.move(world.a, "size=16m,nr_inodes=1000")
    asked = samples(5, 300 * KI)
    world.a.start()
    drop(world, asked)
    wait_until(lambda: len(visible(world.unenriched)) == 10, "all are published")
    world.a.stop()
    world.b.start()
    wait_until(lambda: len(visible(world.enriched)) == 10, "all are answered")
    filler = Filler(share)
    filler.fill(leave=600 * KI)
    world.a.start()
    wait_until(lambda: "space.state" in conditions(world.a), "it is told")
    late = sample(Random(9), "late.bin", 10)
    world.drop(late.name, late.content)
    assert visible(world.inbox) == []
    assert visible(world.a.folder("state/collected")) == []
    assert visible(world.outbox) == ["late.bin"]
    filler.free()
    once(world, [*asked, late])


def test_b_takes_no_new_requests_while_the_disk_that_it_writes_to_is_full_and_says_so(
    world: World, api: Api, disks: Disks
) -> None:
    share = disks.move(world.a, "size=4m", "Enriched")
    filler = Filler(share)
    filler.fill(leave=900 * KI)  # Less than the reserve, and enough for a life sign.
    world.start()
    asked = samples(10, 10 * KI)
    drop(world, asked)
    wait_until(lambda: "space.enriched" in conditions(world.b), "it is told")
    wait_until(lambda: len(visible(world.unenriched)) == 20, "all are published")
    assert world.b.events("answered") == []
    wait_until(lambda: b"space.enriched" in newest_sign(world), "A is told")
    filler.free()
    once(world, asked)


def newest_sign(world: World) -> bytes:
    """B's life sign, in the share that A reads."""
    found = sorted((world.enriched / ".roundtrip").glob("alive-b-*"))
    try:
        return found[-1].read_bytes() if found else b""
    except FileNotFoundError:
        return b""


def test_b_pays_for_nothing_twice_when_its_own_disk_is_full(
    world: World, api: Api, disks: Disks
) -> None:
    state = disks.move(world.b, "size=8m", "state")
    world.b.start()
    filler = Filler(state)
    filler.fill()
    world.a.start()
    asked = samples(10, 10 * KI)
    drop(world, asked)
    wait_until(lambda: "space.state" in conditions_told(world.b), "it is told")
    filler.free()
    once(world, asked)
    assert len(world.b.events("answered")) == 10
    assert sum(api.calls.values()) == 10


def conditions_told(host: Host) -> set[str]:
    """What the log says is wrong: the health file may have no room."""
    over = [line["key"] for line in host.events("trouble over")]
    told = [line["key"] for line in host.events("trouble")]
    return {key for key in told if told.count(key) > over.count(key)}


def test_no_inodes_act_like_no_room_although_the_disk_shows_plenty(
    world: World, disks: Disks
) -> None:
    """A quota that is used up looks the same: only writing tells."""
    disks.move(world.b, "size=64m,nr_inodes=30", "Unenriched")
    asked = samples(60, 10)
    world.start()
    world.b.kill()
    drop(world, asked)
    wait_until(lambda: "space.unenriched" in conditions(world.a), "it is told")
    wait_until(
        lambda: "writing is refused (No space left" in conditions(world.a)["space.unenriched"],
        "it is told why",
    )
    troubles = [line for line in world.a.lines() if line["level"] == "warning"]
    assert len(troubles) < 10, "one trouble, not one for each exchange"
    world.b.start()
    once(world, asked)


@pytest.mark.parametrize("seed", [1])
def test_disks_that_fill_up_again_and_again_lose_and_double_nothing(
    seed: int, world: World, disks: Disks
) -> None:
    """Without a reserve, so that every write is hit: each disk is full for a moment, at random."""
    dice = Random(seed)
    reserve = {"limits": {"reserve": 0}, "timing": FAST}
    for host in (world.a, world.b):
        host.configure({**json.loads(host.config.read_text()), **reserve})
    places = [disks.move(world.a, "size=32m"), disks.move(world.b, "size=16m", "Unenriched"),
              disks.move(world.b, "size=32m", "state")]  # fmt: skip
    fillers = [Filler(place) for place in places]
    world.start()
    sizes = [100, 9 * KI, 60 * KI, 1100 * KI]
    asked = [sample(dice, f"{number}.bin", sizes[number % 4]) for number in range(24)]
    for each in asked:
        filler = dice.choice(fillers)
        if filler is not fillers[0]:
            filler.fill(leave=dice.choice([0, 0, 4 * KI, 40 * KI]))
            world.drop(each.name, each.content)
        else:
            world.drop(each.name, each.content)
            filler.fill(leave=dice.choice([0, 0, 4 * KI, 40 * KI]))
        time.sleep(dice.random() * 0.3)  # A moment at random is the point.
        filler.free()
    once(world, asked)


def test_send_refuses_what_would_take_the_reserve_and_leaves_nothing_behind(
    world: World, disks: Disks
) -> None:
    root = disks.move(world.a, "size=8m")
    before = sorted(map(str, root.rglob("*")))
    content = world.folder / "large.bin"
    content.write_bytes(bytes(7500 * KI))
    done = world.a.run("send", content)
    assert done.returncode == 4
    (line,) = done.stderr.decode().splitlines()[-1:]
    assert "no room for 7.3 MiB" in line and "limits.reserve keeps 1.0 MiB" in line
    done = world.a.run("send", "--name", "piped.bin", "-", stdin=content.read_bytes())
    assert done.returncode == 4 and b"no room for this" in done.stderr
    assert sorted(map(str, root.rglob("*"))) == before


def test_no_more_are_in_flight_than_allowed_and_the_others_follow_in_order(world: World) -> None:
    limits = {"limits": {"in_flight": {"exchanges": 5}, "reserve": "1MiB"}, "timing": FAST}
    world.a.configure({**json.loads(world.a.config.read_text()), **limits})
    world.a.start()
    asked = samples(40, 100)
    drop(world, asked)
    wait_until(lambda: "in_flight" in conditions(world.a), "it is told")
    wait_until(lambda: len(visible(world.a.folder("state/pending"))) == 40, "all are taken in")
    published = visible(world.unenriched)
    assert len(published) == 10  # five, with their markers
    world.a.kill()
    world.a.start()
    last = sample(Random(41), "last.bin", 100)
    world.drop(last.name, last.content)
    wait_until(lambda: len(visible(world.a.folder("state/pending"))) == 41, "it is taken in")
    assert visible(world.unenriched) == published
    world.b.start()
    once(world, [*asked, last])
    order = [line["exchange"] for line in world.a.events("published")]
    assert order == sorted(order)


def test_files_stay_in_the_outbox_while_too_much_is_pending_and_the_oldest_comes_next(
    world: World,
) -> None:
    limits = {"limits": {"pending": "100KiB", "reserve": "1MiB"}, "timing": FAST}
    world.a.configure({**json.loads(world.a.config.read_text()), **limits})
    asked = samples(12, 40 * KI)
    for age, each in enumerate(asked):
        world.drop(each.name, each.content)
        os.utime(world.outbox / each.name, (1e9 - age, 1e9 - age))
    world.a.start()
    wait_until(lambda: "pending" in conditions(world.a), "it is told")
    assert len(visible(world.a.folder("state/pending"))) == 2
    world.a.kill()
    world.a.start()
    sent = world.a.run("send", world.a.config)
    assert sent.returncode == 0
    wait_until(lambda: "pending" in conditions(world.a), "it is told")
    assert len(visible(world.a.folder("state/pending"))) == 2
    assert len(visible(world.a.folder("state/submit"))) == 1
    world.b.start()
    wait_until(lambda: len(visible(world.inbox)) >= 12, "all results", 60, 0.05)
    world.wait_closed(30)
    taken = [line["file"] for line in world.a.events("taken") if line["file"].endswith(".bin")]
    assert taken == [each.name for each in reversed(asked)]
