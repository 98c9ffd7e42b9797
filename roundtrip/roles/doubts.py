"""Answers that can't be used as they are: those that may still be arriving, and a newer B's."""

from __future__ import annotations

from collections.abc import Callable

from roundtrip.protocol.versions import PROTOCOL, NewerProtocol
from roundtrip.roles.health import Health

_CONDITION = "answers"


class Doubts:
    """Which answers are looked at again before they are judged, and which wait for our upgrade.

    An answer is doubted for `settle` seconds of `clock`; `version` is ours, for the operator.
    """

    def __init__(
        self, health: Health, settle: float, clock: Callable[[], float], version: str
    ) -> None:
        self._health = health
        self._settle = settle
        self._clock = clock
        self._version = version
        self._since: dict[str, float] = {}
        self._held: set[str] = set()

    def is_held(self, exchange: str) -> bool:
        """Whether the exchange has an answer that only a newer version of us can read."""
        return exchange in self._held

    def hold(self, exchange: str, error: NewerProtocol) -> None:
        """An answer that this version can't read will still be there for the next one.

        Asking again would bring the same, so no attempt is spent on it.
        """
        self._held.add(exchange)
        reason = (
            f"host B answers in protocol {error.spoken}; this side ({self._version}) speaks "
            f"{PROTOCOL}: upgrade host A; the answers wait in Enriched, nothing is lost"
        )
        self._health.report(_CONDITION, reason)

    def last(self, exchange: str) -> bool:
        """Doubt an answer; whether that has lasted so long that it is not arriving any more."""
        self._release(exchange)
        return self._clock() - self._since.setdefault(exchange, self._clock()) >= self._settle

    def judged(self, exchange: str) -> None:
        """The answer was refused; the next one is another."""
        self._since.pop(exchange, None)

    def forget(self, exchange: str) -> None:
        """Its answer is not waited for any more."""
        self.judged(exchange)
        self._release(exchange)

    def _release(self, exchange: str) -> None:
        if exchange in self._held:
            self._held.discard(exchange)
            if not self._held:
                self._health.clear(_CONDITION)
