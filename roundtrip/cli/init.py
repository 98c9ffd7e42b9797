"""`roundtrip init`: make a role's folders and the identity of the share that lives on its disk."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from roundtrip.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from roundtrip.places import Places


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    """Add the `init` command."""
    parser = subparsers.add_parser(
        "init", parents=[common], help="make this host's folders and its share's identity"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Make what is missing and say what was made; running it again changes nothing."""
    import asyncio

    from roundtrip.config import load
    from roundtrip.demo import samples

    starter = _starter_file(args.config)
    if starter is not None:
        starter.write_text(samples.starter())
        print(f"wrote {starter}: a starting point, please edit it")
    try:
        settings = load(args.config, args.role, secrets="named")
    except ConfigError:
        if starter is not None and args.role is None:
            starter.unlink()
            raise ConfigError(["which role? run: roundtrip init --role a, or --role b"]) from None
        raise
    from roundtrip.places import Places

    asyncio.run(_make(Places(settings)))
    return ExitCode.OK


def _starter_file(named: Path | None) -> Path | None:
    """Where a starting configuration is to be written; None if there is a configuration."""
    if named is not None:
        return None if named.exists() else named
    usual = (Path("roundtrip.yaml"), Path("/etc/roundtrip/roundtrip.yaml"))
    if os.environ.get("ROUNDTRIP_CONFIG") or any(path.exists() for path in usual):
        return None
    return usual[0]


async def _make(places: Places) -> None:
    from roundtrip.shares.identity import establish

    for path in places.make():
        print(f"made {path}")
    identity, is_new = await establish(places.home, places.role)
    print(f"{'made' if is_new else 'kept'} share {places.home} (id {identity.id})")
    other = places.unenriched if places.home is places.enriched else places.enriched
    if not other.is_dir():
        print(f"next: mount the other host's share at {other}")
    places.check()
