"""The contestants, in the order in which they take turns."""

from __future__ import annotations

from bench.peers.base import Peer
from bench.peers.celery import Celery
from bench.peers.incron import Incron
from bench.peers.node_red import NodeRed
from bench.peers.roundtrip import Roundtrip
from bench.peers.sarracenia import Sarracenia
from bench.peers.watchdog import Watchdog

PEERS: dict[str, type[Peer]] = {
    peer.name: peer for peer in (Roundtrip, Watchdog, Incron, Celery, Sarracenia, NodeRed)
}
