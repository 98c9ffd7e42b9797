"""When waiting for a host is no use: how long a call may be postponed before it fails."""

from __future__ import annotations

from roundtrip.enrich.faults import PassingFault, Postponed, RecordFault
from roundtrip.enrich.limits.breaker import Breaker
from roundtrip.enrich.limits.hold import Hold
from roundtrip.enrich.settings import StepSettings

BRIEF = 1.0  # seconds that a step with a fallback waits
FLOOR = 0.05  # seconds, doubled each time: the least that one call waits when it is postponed


class Postponements:
    """How long one call has been asked to wait in all."""

    __slots__ = ("_asked", "_settings", "_times")

    def __init__(self, settings: StepSettings) -> None:
        self._settings = settings
        self._asked = 0.0
        self._times = 0

    def pause(self, postponed: Postponed) -> float:
        """Seconds until it may go again: as asked, but longer each time than "at once".

        Raises PassingFault when that is longer than the step's patience.
        """
        fault = postponed.fault
        pause = max(
            postponed.after, min(FLOOR * (1 << self._times), self._settings.retry.max_delay)
        )
        self._times = min(self._times + 1, 30)
        self._asked += pause
        if postponed.after > BRIEF and self._settings.fallback is not None:
            raise _waits_not(fault.detail, fault, postponed.after)
        if self._asked > self._settings.retry.patience:
            asked = postponed.after if self._times == 1 else self._asked
            raise _too_long(self._settings, fault.detail, fault, asked)
        return pause


def paused(settings: StepSettings, host: str, pause: Hold, now: float) -> PassingFault | None:
    """The fault of a call that would have to wait too long for the end of a host's pause."""
    if pause.until is None or pause.fault is None:
        return None
    what = f"step {settings.name}: {host} answered another call with {pause.fault.title}"
    rest = pause.until - now
    if rest > BRIEF and settings.fallback is not None:
        return _waits_not(what, pause.fault, rest)
    if rest > settings.retry.patience:
        return _too_long(settings, what, pause.fault, rest)
    if pause.times > 1 and pause.asked > settings.retry.patience:
        return _too_long(settings, what, pause.fault, pause.asked)
    return None


def broken(settings: StepSettings, host: str, breaker: Breaker, now: float) -> PassingFault | None:
    """The fault of a call that would have to wait too long for a host that doesn't answer."""
    fault, since = breaker.last, breaker.since
    if breaker.lets_through or fault is None or since is None:
        return None
    where = f"step {settings.name}: {host}"
    if settings.fallback is not None:
        said = f"{where} fails ({fault.title}); not tried, the step has a fallback"
        return PassingFault(fault.title, said, fault.status)
    if now < since + settings.retry.patience:
        return None
    said = (
        f"{where} has failed for {now - since:.0f} s ({fault.title}); not tried, "
        f"retry.patience is {settings.retry.patience:g} s"
    )
    return PassingFault(fault.title, said, fault.status)


def spent(settings: StepSettings, reason: str, seconds: float) -> PassingFault | None:
    """The fault of a call whose quota is spent for so long; only a fallback is a reason for one."""
    if settings.fallback is None or seconds <= BRIEF:
        return None
    said = f"step {settings.name}: {reason}; not tried, the step has a fallback"
    return PassingFault("Quota is spent", said)


def _too_long(
    settings: StepSettings, what: str, fault: RecordFault, seconds: float
) -> PassingFault:
    said = f"{what}; it asks to wait {seconds:.0f} s, "
    return PassingFault(
        fault.title, f"{said}retry.patience is {settings.retry.patience:g} s", fault.status
    )


def _waits_not(what: str, fault: RecordFault, seconds: float) -> PassingFault:
    said = f"{what}; it asks to wait {seconds:.0f} s, and the step has a fallback"
    return PassingFault(fault.title, said, fault.status)
