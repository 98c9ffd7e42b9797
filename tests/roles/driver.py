"""Runs both roles to rest in memory, without choosing who moves: for tests of what they do."""

from __future__ import annotations

import asyncio

from tests.roles.world import EXCHANGE, World


def to_rest(world: World, *exchanges: str, roles: str = "ab") -> None:
    """Let the roles look in turn until neither changes anything; time passes when they wait."""
    asyncio.run(_to_rest(world, exchanges or (EXCHANGE,), roles))


async def _to_rest(world: World, exchanges: tuple[str, ...], roles: str) -> None:
    for role in roles:
        if role not in world.roles:
            world.start(role)
            await world.roles[role].start()
    for _ in range(100):
        before = snapshot(world)
        pauses = [
            await world.roles[role].look(exchange) for role in roles for exchange in exchanges
        ]
        waited = [pause for pause in pauses if pause is not None]
        if snapshot(world) == before and not waited:
            return
        world.clock.now += max(waited, default=0.0)
    raise AssertionError("the roles never come to rest")


def snapshot(world: World) -> dict[str, dict[str, bytes]]:
    """All files, as they are now."""
    return {label: dict(files) for label, files in world.disk.files.items()}
