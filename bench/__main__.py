"""scripts/bench: measure roundtrip beside the floor and its peers, side by side in one run."""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bench import idle, machine, measure, report
from bench.api import Api
from bench.arrivals import Arrivals
from bench.cache import Cache, default_folder
from bench.errors import Unavailable
from bench.idle import Idle
from bench.measure import Result
from bench.peers import PEERS
from bench.peers.base import Peer

FLOORS = ("floor", "floor-nohttp")
KINDS = ("latency", "throughput", "kill9", "idle")
LATENCY_COUNT = 200
KILL_COUNT = 500
ENDINGS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run what the command line asks for. Returns the exit status."""
    for signum in ENDINGS:
        signal.signal(signum, _interrupt)
    options = _options()
    run = Run(options)
    try:
        run.prepare()
        run.all_rounds()
    except KeyboardInterrupt:
        say("interrupted: everything is stopped and removed; what was measured until then:")
    run.print_tables()
    return 0 if run.found else 1


def say(text: str = "") -> None:
    """Progress goes to stderr, so that the tables can be redirected."""
    sys.stderr.write(text + "\n")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    for each in ENDINGS:  # a second one must not break off the cleaning
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=[*KINDS, "all"])
    names = [*FLOORS, *PEERS]
    parser.add_argument("--only", default=",".join(names), help="of: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=2000, help="for throughput")
    parser.add_argument(
        "--pause", type=float, default=10.0, metavar="MS", help="between exchanges of latency"
    )
    parser.add_argument("--where", choices=["tmpfs", "disk", "both"], default="both")
    parser.add_argument("--seed", type=int, default=None, help="for kill9")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(names):
        parser.error(f"unknown in --only: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    if options.seed is None:
        options.seed = random.randrange(1_000_000)
    return options


def _base(where: str) -> Path:
    """The folder that runs happen in. Raises Unavailable if it isn't what its name says."""
    base = Path("/dev/shm") if where == "tmpfs" else Path(os.environ.get("TMPDIR", "/var/tmp"))
    kind = machine.filesystem(base)
    if (kind == "tmpfs") != (where == "tmpfs"):
        raise Unavailable(f"{base} is {kind}: not {where} (TMPDIR names a folder on a disk)")
    return base


@contextmanager
def _folder(base: Path) -> Iterator[Path]:
    """An empty folder for one run, removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="roundtrip-bench-", dir=base))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Run:
    """One invocation: the contestants, the rounds, and what was found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._cache = Cache(default_folder())
        self._peers: dict[str, type[Peer]] = {}
        self._kinds = KINDS if options.what == "all" else (options.what,)
        self._places = ("tmpfs", "disk") if options.where == "both" else (options.where,)
        self._facts = machine.facts(shlex.join(["scripts/bench", *sys.argv[1:]]))
        self._skipped: dict[str, str] = {}
        # by (kind, where), then contestant
        self.found: dict[tuple[str, str], dict[str, list[Result | Idle]]] = {}

    def prepare(self) -> None:
        """Install the contestants; one that can't be is left out, with the reason."""
        self._bases = {where: _base(where) for where in self._places}
        for name in self._options.only:
            if name in FLOORS:
                continue
            say(f"preparing {name}")
            try:
                PEERS[name](self._cache).prepare()
                self._peers[name] = PEERS[name]
            except Unavailable as reason:
                self._skipped[name] = str(reason)
                say(f"  left out: {reason}")

    def all_rounds(self) -> None:
        """Contestants take turns within each round, so that a change of the machine hits all."""
        with _folder(self._bases[self._places[0]]) as place, Api(self._cache, place / "api") as api:
            for number in range(self._options.rounds):
                for kind in self._kinds:
                    places = self._places[:1] if kind == "idle" else self._places
                    for where in places:
                        self._one_round(kind, where, number, api.url)

    def print_tables(self) -> None:
        """All tables to stdout, everything to the JSON file."""
        lines = [f"{key}: {value}" for key, value in self._facts.items()]
        lines += [f"left out: {name}: {reason}" for name, reason in self._skipped.items()]
        for (kind, where), rounds in self.found.items():
            lines += ["", f"{kind} on {where} ({machine.filesystem(self._bases[where])}), "
                      f"medians of {max(map(len, rounds.values()))} rounds"]  # fmt: skip
            lines[-1] += f", seed {self._options.seed}" if kind == "kill9" else ""
            lines.append(report.table(getattr(report, kind)(rounds)))
        if "idle" in self._kinds and "roundtrip" in self._peers:
            lines += ["", report.table(report.start_up(idle.start_up()))]
        sys.stdout.write("\n".join(lines) + "\n")
        if self._options.json:
            self._options.json.write_text(json.dumps(self._everything(), indent=1))

    def _everything(self) -> dict[str, object]:
        found = {
            f"{kind} {where}": {name: report.raw(results) for name, results in rounds.items()}
            for (kind, where), rounds in self.found.items()
        }
        return {"facts": self._facts, "seed": self._options.seed, "skipped": self._skipped,
                "found": found}  # fmt: skip

    def _one_round(self, kind: str, where: str, number: int, api: str) -> None:
        for name in self._options.only:
            if name in self._skipped or (name in FLOORS and kind in ("kill9", "idle")):
                continue
            say(f"round {number + 1}/{self._options.rounds}: {kind}, {where}, {name}")
            with _folder(self._bases[where]) as place:
                try:
                    result = self._measure(kind, name, number, place, api)
                except Unavailable as reason:
                    self._skipped[f"{name}, {kind} on {where}, round {number + 1}"] = str(reason)
                    say(f"  failed: {reason}")
                    continue
            self.found.setdefault((kind, where), {}).setdefault(name, []).append(result)

    def _measure(self, kind: str, name: str, number: int, place: Path, api: str) -> Result | Idle:
        pause = self._options.pause / 1000
        if name in FLOORS:
            url = "" if name == "floor-nohttp" else api
            if kind == "latency":
                return measure.floor(place, LATENCY_COUNT, url, pause)
            return measure.floor(place, self._options.files, url)
        peer = self._peers[name](self._cache)
        peer.prepare()
        try:
            peer.start(place, api)
            with Arrivals(peer.output) as arrivals:
                if kind == "latency":
                    return measure.latency(peer, arrivals, LATENCY_COUNT, pause)
                if kind == "throughput":
                    return measure.throughput(peer, arrivals, self._options.files)
                if kind == "idle":
                    return idle.idle(peer, arrivals)
                return measure.kill9(peer, arrivals, KILL_COUNT, self._options.seed + number)
        finally:
            peer.stop()


if __name__ == "__main__":
    sys.exit(main())
