"""`roundtrip demo`: a round trip on this machine, with two agents and a sample API."""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, RoundtripError

if TYPE_CHECKING:
    from roundtrip.demo.api import Server


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `demo` command; it brings its own configuration, so `common` is not used."""
    parser = subparsers.add_parser("demo", help="show a round trip on this machine")
    parser.add_argument("--keep", action="store_true", help="leave both hosts' folders behind")
    parser.add_argument("--api", action="store_true", help="only serve the sample API")
    parser.add_argument(
        "--port", type=int, help="the API's port (default: 8765 with --api, else any free one)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo, or only its API, and return the exit code."""
    with _interruption() as interrupted:
        if args.api:
            return _serve(args.port, interrupted)
        return _demo(args.port or 0, args.keep, interrupted)


@contextmanager
def _interruption() -> Iterator[Event]:
    """An event that Ctrl-C, `kill` and a closed terminal set, in place of what they usually do."""
    interrupted = Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: interrupted.set()) for number in numbers]
    try:
        yield interrupted
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _serve(port: int | None, interrupted: Event) -> int:
    from roundtrip.demo.api import DEFAULT_PORT

    with _api(DEFAULT_PORT if port is None else port) as api:
        urls = f"{api.url}/countries/DE and {api.url}/airports/FRA"
        print(f"sample API: {urls}; Ctrl-C ends it", flush=True)
        interrupted.wait()
    return ExitCode.OK


@contextmanager
def _api(port: int) -> Iterator[Server]:
    from roundtrip.demo.api import serving

    with ExitStack() as stack:
        try:
            api = stack.enter_context(serving(port))
        except (OSError, OverflowError) as error:
            raise RoundtripError(
                f"the sample API can't listen on 127.0.0.1:{port}: {error}; try another --port"
            ) from None
        yield api


def _demo(port: int, keep: bool, interrupted: Event) -> int:
    from roundtrip.cli.demo_view import View
    from roundtrip.demo import samples, stage
    from roundtrip.demo.journey import Journey, Lookout, follow

    view = View()
    with _folder(keep) as folder, _api(port) as api:
        a, b = stage.build(folder, api.server_address[1])
        view.opening(folder, api.url)
        with stage.running((b, a), interrupted.is_set) as running:
            outbox = a.root / "outbox"
            journeys = [Journey(samples.write(name, outbox).name) for name in samples.NAMES]
            lookout = Lookout(a.root, b.root / "Unenriched")
            view.show(journeys, follow(journeys, lookout, running))
        view.compare(samples.text("orders.csv"), journeys[0])
        view.closing(folder if keep else None, api.server_address[1])
    return ExitCode.FAILED if any(way.place != "inbox" for way in journeys) else ExitCode.OK


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="roundtrip-demo-"))
    else:
        with tempfile.TemporaryDirectory(prefix="roundtrip-demo-") as folder:
            yield Path(folder)
