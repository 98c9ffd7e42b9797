"""`roundtrip agent`: run one role until told to stop, or with --once until all is done."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from roundtrip.errors import ExitCode, RoundtripError

if TYPE_CHECKING:
    from roundtrip.config import Settings


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `agent` command."""
    parser = subparsers.add_parser("agent", parents=[common], help="run this host's agent")
    parser.add_argument(
        "--once", action="store_true", help="deal with what is there, then exit (for cron)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the agent; SIGTERM and SIGINT end it, SIGHUP makes it read its configuration again."""
    import asyncio

    from roundtrip import logs
    from roundtrip.config import load

    def read() -> Settings:
        return load(args.config, args.role)

    settings = read()
    logs.configure(settings.log_level)
    try:
        asyncio.run(_work(settings, read, once=args.once))
    except (RoundtripError, KeyboardInterrupt):
        raise
    except Exception:
        logging.getLogger("roundtrip.agent").exception("defect")
        raise  # The command line's own handler says it in one line.
    return ExitCode.OK


async def _work(settings: Settings, read: Callable[[], Settings], *, once: bool) -> None:
    import asyncio

    from roundtrip.service import Service

    service = Service(settings, read)
    # What was built lives as long as the process; the collector need not walk it again and again.
    gc.freeze()
    gc.set_threshold(20_000)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    loop.add_signal_handler(signal.SIGHUP, service.reload)
    await service.run(once=once)
