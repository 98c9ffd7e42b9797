"""The same two hosts as for the intake, and what a stranger puts on their shares."""

from __future__ import annotations

from tests.intake.conftest import hosts, working

__all__ = ["hosts", "working"]
