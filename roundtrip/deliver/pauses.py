"""How long to wait before another attempt.

tenacity, which times the calls of role b, keeps its state in a running coroutine; this one has to
go on where it was after a restart, so it is a function of a number that lies in the entry.
"""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 60  # beyond which floats gain nothing


def pause(attempts: int, shortest: float, longest: float, dice: random.Random) -> float:
    """Seconds to wait after so many failed attempts: doubled each time, at most `longest`.

    Between half of that and all, so that what failed together doesn't come back together.
    """
    whole = shortest * 2.0 ** min(max(attempts - 1, 0), _MOST_DOUBLINGS)
    return min(whole, longest) * dice.uniform(0.5, 1.0)
