"""A simulator of the faults that shared folders have, for testing what relies on them.

    faulty         any folder, failing as mounts and disks do: for tests of your own code
    Faults         how often what goes wrong; `PROFILES` are named ones
    virtually      runs a coroutine in virtual time: hours take no time
    simulate       one seed: the whole protocol under faults, in virtual time
    campaign       many seeds

From the command line: `python -m roundtrip.testing --help`.
"""

from roundtrip.testing.alone import faulty
from roundtrip.testing.campaign import Totals, campaign
from roundtrip.testing.faults import PROFILES, Faults
from roundtrip.testing.folder import FaultyFolder
from roundtrip.testing.loop import virtually
from roundtrip.testing.simulation import Account, Violation, simulate
from roundtrip.testing.view import View
from roundtrip.testing.weather import Access, Fate, Weather

__all__ = [
    "PROFILES", "Access", "Account", "Fate", "Faults", "FaultyFolder", "Totals", "View",
    "Violation", "Weather", "campaign", "faulty", "simulate", "virtually",
]  # fmt: skip
