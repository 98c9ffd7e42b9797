"""A simulator of the faults that shared folders have, for testing what relies on them.

    FaultyFolder   wraps any folder and fails as mounts and disks do, by a seeded `Weather`
    Faults         how often what goes wrong; `PROFILES` are named ones
    simulate       one seed: the whole protocol under faults, in virtual time
    campaign       many seeds

From the command line: `python -m roundtrip.testing --help`.
"""

from roundtrip.testing.campaign import Totals, campaign
from roundtrip.testing.faults import PROFILES, Faults
from roundtrip.testing.folder import FaultyFolder
from roundtrip.testing.simulation import Account, Violation, simulate
from roundtrip.testing.view import View
from roundtrip.testing.weather import Access, Fate, Weather

__all__ = [
    "PROFILES", "Access", "Account", "Fate", "Faults", "FaultyFolder", "Totals", "View",
    "Violation", "Weather", "campaign", "simulate",
]  # fmt: skip
