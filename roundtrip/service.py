"""The agent as a service: in one process one agent after another, as its configuration changes.

SIGHUP --> read the configuration --> valid: stop the agent, start the next --> it can't start:
                                      invalid: keep this one                    back to the last
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from roundtrip import logs
from roundtrip.agent.agent import Agent
from roundtrip.agent.heap import keep_small
from roundtrip.agent.notify import Notifier
from roundtrip.assembly import build_agent
from roundtrip.config import Settings
from roundtrip.errors import ConfigError, RoundtripError
from roundtrip.roles.health import Severity

log = logging.getLogger("roundtrip.agent")


class Service:
    """Runs an agent until `stop`, and the next one in its place after each `reload`."""

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        """`read` gives the settings anew, or raises ConfigError."""
        self._settings = settings
        self._read = read
        self._last: Settings | None = None  # what to go back to
        self._next: Settings | None = None
        self._stopped = False
        self._refusal: str | None = None
        self._notifier = Notifier()
        self._agent: Agent | None = None

    def stop(self) -> None:
        """End `run` once what is in hand is done or parked."""
        self._stopped = True
        self._notifier.stopping()
        if self._agent is not None:
            self._agent.stop()

    def reload(self) -> None:
        """Go on with the configuration as it is now; an invalid one changes nothing."""
        try:
            self._next = self._read()
        except ConfigError as error:
            self._refuse(error)
            self._show_refusal()
            return
        log.info("reloading")
        self._refusal = None
        self._notifier.reloading()
        if self._agent is not None:
            self._agent.stop()

    def _refuse(self, error: RoundtripError) -> None:
        lines = str(error).splitlines()
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        log.error("reload refused", extra={"problems": lines})
        self._refusal = f"the new configuration is not used: {lines[0]}{more}"

    def _show_refusal(self) -> None:
        if self._agent is not None and self._refusal is not None:
            self._agent.health.report("reload", self._refusal, Severity.WARNING)

    async def run(self, *, once: bool = False) -> None:
        """Work until `stop`, or with `once` until nothing is left to do now.

        Raises:
            ShareError: a share or folder can't be used at the start.
            BusyError: another agent does this already.
        """
        keep_small()
        while not self._stopped:
            try:
                await self._serve(once=once)
            except RoundtripError as error:
                if self._last is None or (self._agent is not None and self._agent.is_ready):
                    raise
                self._refuse(error)
                self._settings, self._last = self._last, None
                continue
            if self._next is None:
                return
            self._last, self._settings, self._next = self._settings, self._next, None

    async def _serve(self, *, once: bool) -> None:
        self._agent = None
        self._agent = build_agent(self._settings)
        logs.configure(self._settings.log_level)
        self._show_refusal()
        await self._agent.run(once=once)
