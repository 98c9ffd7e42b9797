"""`roundtrip explain`: what state an exchange is in, why, and who does what next."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from roundtrip.cli.words import attempts_words
from roundtrip.errors import ExitCode

if TYPE_CHECKING:
    from roundtrip.config import Settings


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `explain` command."""
    parser = subparsers.add_parser(
        "explain", parents=[common], help="say what state an exchange is in and who acts next"
    )
    parser.add_argument("exchange", metavar="NAME", help="the exchange's name")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Look at the four names and print what they mean."""
    import asyncio

    from roundtrip.config import load
    from roundtrip.protocol.names import check_exchange

    settings = load(args.config, args.role, secrets="named")
    found = asyncio.run(_explain(settings, check_exchange(args.exchange)))
    if args.json:
        print(json.dumps(found, indent=2))
        return ExitCode.OK
    width = max(len(key) for key in found)
    for key, value in found.items():
        print(f"{key:{width}}  {value}")
    return ExitCode.OK


async def _explain(settings: Settings, exchange: str) -> dict[str, Any]:
    from roundtrip.errors import ShareAway
    from roundtrip.glance import Glance
    from roundtrip.places import Places
    from roundtrip.protocol.names import marker_of
    from roundtrip.protocol.states import Names, Observed, Role, next_step, state_of
    from roundtrip.survey import about_restarts
    from roundtrip.waiting import restarts

    places = Places(settings)
    there = []
    async with Glance(settings) as shares:
        for look in (shares.unenriched, shares.enriched):
            if look.folder is None:
                raise ShareAway(look.health)
            for name in (exchange, marker_of(exchange)):
                there.append(await look.folder.stat(name) is not None)
    names = Names(*there)
    wanted = (places.pending / exchange).exists() if places.role is Role.REQUESTER else None
    found: dict[str, Any] = {"exchange": exchange, "state": state_of(names).value}
    found |= {key.replace("_", " "): value for key, value in names._asdict().items()}
    if wanted is not None:
        found["wanted"] = wanted
    found["next for a"] = next_step(Role.REQUESTER, Observed(names, wanted is not False)).value
    found["next for b"] = next_step(Role.RESPONDER, Observed(names)).value
    if places.role is Role.REQUESTER and (again := restarts(places, exchange)):
        found["attempts"] = attempts_words(about_restarts(again), time.time())
    return found
