"""The contestants, in the order in which they take turns."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.peers.celery import Celery
from bench.peers.incron import Incron
from bench.peers.node_red import NodeRed
from bench.peers.roundtrip import Roundtrip
from bench.peers.sarracenia import Sarracenia
from bench.peers.watchdog import DurableWatchdog, Watchdog

IN_TURN: tuple[type[Peer], ...] = (
    Roundtrip,
    Watchdog,
    DurableWatchdog,
    Incron,
    Celery,
    Sarracenia,
    NodeRed,
)
PEERS = {peer.name: peer for peer in IN_TURN}
