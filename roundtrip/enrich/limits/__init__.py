"""How many calls run at once, how fast they follow, how many in a day, and who is next."""

from roundtrip.enrich.limits.figures import Figures
from roundtrip.enrich.limits.gate import Gate, Governor
from roundtrip.enrich.limits.quota import Spent
from roundtrip.enrich.limits.share import Share

__all__ = ["Figures", "Gate", "Governor", "Share", "Spent"]
