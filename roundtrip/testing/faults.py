"""What may go wrong, and how often: profiles of faults, as data."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

TRANSIENT = (
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EACCES,
    errno.EHOSTDOWN,
    errno.EINTR,
)
"""What a mount says before it has done anything; it may work again at the next call."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What it says as well when something is to be written."""

UNCERTAIN = (errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ENOTCONN)
"""What a mount says when the reply was lost; the effect is there."""

REPEATED = {"put": (errno.ENOENT, errno.EEXIST), "remove": (errno.ENOENT,)}
"""What a repeated request finds when the first one's reply was lost: its own effect."""

LOCAL = (errno.EIO,)
"""What a local disk says; it may be full, too, when something is to be written."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates are probabilities of one operation, unless said otherwise; times are in seconds.

    Mounted folders are the share of the other host; local ones are the own share and the private
    folders, which are spared what only a network does.
    """

    latency: float = 0.004
    """Mean time that an operation takes; what interleaves the two hosts."""
    before: float = 0.0
    """A mounted folder fails without an effect."""
    after: float = 0.0
    """The effect is there, the reply is lost."""
    late: float = 0.0
    """The operation times out, and has its effect up to `late_by` later."""
    late_by: float = 40.0
    partial: float = 0.0
    """A put fails and leaves its in-flight file behind."""
    lag: float = 0.0
    """A mounted folder's names and attributes are remembered for up to so long, wrong or not."""
    both_mounted: bool = False
    """Both shares lie on a third host: each host's view of both lags, and no events come."""
    torn: float = 0.0
    """A put reports success, but what lies there is cut off, empty, NULs or wrong."""
    slow: float = 0.0
    """A put's content is complete up to `slow_by` after the name is there."""
    slow_by: float = 5.0
    torn_read: float = 0.0
    """A reader of a share gets something else than what lies there."""
    local: float = 0.0
    """A local folder fails, with its effect or without."""
    kill: float = 0.0
    """The role dies before, during or after the operation."""
    power: float = 0.0
    """So many of the deaths are the host's: what was not synced is lost or torn."""
    cut_every: float = 0.0
    """Mean time between two cuts of a host's mount; 0 for none."""
    cut_for: float = 60.0
    full_every: float = 0.0
    """Mean time between two times at which a disk is full; 0 for never."""
    full_for: float = 90.0
    event_lost: float = 0.0
    event_twice: float = 0.0
    event_late: float = 0.0
    """An event comes up to three seconds late, and so after others."""
    event_false: float = 0.0
    """An event comes for another name than the one that changed."""
    poll: float = 300.0
    """Time between two full listings."""


CALM = Faults()

PROFILES: dict[str, Faults] = {
    "calm": CALM,
    "errors": Faults(before=0.06, after=0.06, partial=0.02),
    "late": Faults(late=0.08, after=0.03, lag=5.0),
    "stale": Faults(lag=30.0, before=0.01),
    "nas": Faults(lag=20.0, both_mounted=True, before=0.01, poll=30.0),
    "torn": Faults(torn=0.05, slow=0.08, torn_read=0.05),
    "local": Faults(local=0.05),
    "full": Faults(full_every=60.0, partial=0.01),
    "cuts": Faults(cut_every=40.0, late=0.02),
    "events": Faults(event_lost=0.2, event_twice=0.2, event_late=0.3, event_false=0.2),
    "kills": Faults(kill=0.02),
    "power": Faults(kill=0.015, power=0.7),
}
"""One kind of fault each; `all` has every kind, at lower rates."""

PROFILES["all"] = replace(
    PROFILES["events"],
    before=0.02,
    after=0.02,
    late=0.02,
    partial=0.01,
    lag=10.0,
    torn=0.01,
    slow=0.02,
    torn_read=0.01,
    local=0.01,
    kill=0.006,
    power=0.4,
    cut_every=120.0,
    full_every=200.0,
)


def is_orderly(faults: Faults) -> bool:
    """Whether a share never shows a marker without the payload that it was published with.

    What lands late, is torn, or is lost in a power cut may break that order for a while.
    """
    return not (faults.late or faults.torn or faults.slow or faults.power)
