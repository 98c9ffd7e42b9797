"""`roundtrip worker`: enrich what the agent has put into the queue, until told to stop."""

from __future__ import annotations

import argparse
import logging
import signal

from roundtrip.errors import ExitCode, RoundtripError

CONCURRENCY = 8


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `worker` command."""
    parser = subparsers.add_parser(
        "worker", parents=[common], help="enrich requests from the queue (dispatch: queue)"
    )
    parser.add_argument(
        "--concurrency",
        type=_count,
        default=CONCURRENCY,
        metavar="N",
        help=f"requests enriched at once (default: {CONCURRENCY})",
    )
    parser.add_argument("--once", action="store_true", help="exit once the queue is empty")
    parser.set_defaults(func=run)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError("must be a number from 1 to 10000")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Work; SIGTERM and SIGINT end it, and what is not finished goes back into the queue."""
    import asyncio

    from roundtrip import logs
    from roundtrip.config import load

    settings = load(args.config, args.role)
    logs.configure(settings.log_level)
    try:
        asyncio.run(_work(settings, args.concurrency, once=args.once))
    except (RoundtripError, KeyboardInterrupt):
        raise
    except Exception:
        logging.getLogger("roundtrip.dispatch").exception("defect")
        raise  # The command line's own handler says it in one line.
    return ExitCode.OK


async def _work(settings: object, concurrency: int, *, once: bool) -> None:
    import asyncio

    from roundtrip.agent.notify import Notifier
    from roundtrip.config import Settings
    from roundtrip.dispatching import build_worker

    assert isinstance(settings, Settings)
    worker, place, before = build_worker(settings, concurrency)
    notifier = Notifier()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, worker.stop)
    try:
        notifier.ready("worker")
        notifier.watch()
        await worker.run(once=once, before=before)
    finally:
        notifier.stopping()
        notifier.close()
        place.leave()
