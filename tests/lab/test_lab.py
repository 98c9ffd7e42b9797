"""The lab from bare, for one transport, with the tests that don't take long: only with LAB=1.

The full matrix is `scripts/lab test`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import lab
from tests.lab.cases import CASES
from tests.lab.deploy import deploy
from tests.lab.pair import Pair, faults

_TRANSPORT = os.environ.get("LAB_TRANSPORT", "nfs4")
_SHORT = ("events", "slow_writers", "cut_5", "kill_agents_in_cut", "unmounted", "read_only")

pytestmark = [
    pytest.mark.skipif(os.environ.get("LAB") != "1", reason="takes minutes; LAB=1 runs it"),
    pytest.mark.needs("root"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with lab.alone():
        lab.down()
        try:
            guests = lab.up()
            deploy(_TRANSPORT)
            yield Pair(guests["a"], guests["b"], _TRANSPORT)
        finally:
            lab.down()


@pytest.mark.parametrize("name", _SHORT)
def test_everything_sent_is_delivered_exactly_once_or_is_waiting(pair: Pair, name: str) -> None:
    pair.clean()
    sheet = CASES[name](pair)
    assert not faults(sheet), sheet
