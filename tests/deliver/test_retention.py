"""Cleaning while something is due: real agents whose folders keep nothing for more than a day."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.deliver.conftest import MakeWorld
from tests.e2e.world import World, visible, wait_until

DAYS = 86400.0
CAT = '[ -e "$0.open" ] || exit 1; cat "$@" >> "$0.got"'
"""For `sh -c`, with the beginning of two files' names, and the files that are delivered."""


def clean(world: World) -> None:
    """Let a new life clean; it is done when what nobody needs has gone."""
    for name in ("old", "old.problem.json"):
        (world.failed / name).write_bytes(b"{}")
        made_old(world.failed / name)
    world.a.folder("state/cleaned-a").unlink(missing_ok=True)
    world.a.start()
    wait_until(lambda: not (world.failed / "old").exists(), "it is cleaned")
    wait_until(lambda: world.a.folder("state/cleaned-a").exists(), "all of it")


def made_old(path: Path) -> None:
    then = time.time() - 10 * DAYS
    os.utime(path, (then, then))


def test_what_is_due_is_not_cleaned_away_before_it_is_delivered(
    make_world: MakeWorld, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    retry = {"min_delay": "100ms", "max_delay": "200ms"}
    world = make_world(
        {
            "good": {"exec": ["sh", "-c", CAT, f"{out}.good", "{content}"], "retry": retry},
            "bad": {"exec": ["sh", "-c", CAT, f"{out}.bad", "{original}", "{path}"],
                    "on": ["failed"], "retry": retry},
        },
        failed={"keep": "1d"}, archive={"keep": "1d"},
    )  # fmt: skip
    world.start()
    world.drop("one.csv", b"content")
    world.drop("two.bad", b"original")
    wait_until(lambda: len({e["delivery"] for e in world.a.events("delivery failed")}) == 2,
               "both are due")  # fmt: skip
    world.wait_closed()
    assert world.a.stop() == 0
    names = visible(world.failed)
    assert names == ["two.bad", "two.bad.problem.json"]
    problem = (world.failed / names[1]).read_bytes()
    for name in names:
        made_old(world.failed / name)
    (world.inbox / "one.csv").unlink()  # Its user has it, and takes it away.

    clean(world)
    assert visible(world.failed) == names
    for name in ("good", "bad"):
        Path(f"{out}.{name}.open").touch()
    wait_until(lambda: len(world.a.events("delivery done")) == 2, "both are delivered")
    assert Path(f"{out}.good.got").read_bytes() == b"content"
    assert Path(f"{out}.bad.got").read_bytes() == b"original" + problem
    assert world.a.stop() == 0
    clean(world)
    assert visible(world.failed) == [], "nobody needs them any more"


def test_what_is_dead_holds_nothing_in_failed(make_world: MakeWorld, tmp_path: Path) -> None:
    world = make_world(
        {"bad": {"exec": ["false"], "on": ["failed"], "expire": "1ms"}}, failed={"keep": "1d"}
    )
    world.start()
    world.drop("two.bad", b"original")
    wait_until(lambda: world.a.events("delivery dead"), "it is given up")
    world.wait_closed()
    assert world.a.stop() == 0
    for path in world.failed.iterdir():
        made_old(path)
    clean(world)
    assert visible(world.failed) == []
    (content,) = world.a.folder("state/deliveries/bad/dead").glob("~*")
    assert b"problem" in content.read_bytes() or b"title" in content.read_bytes()
