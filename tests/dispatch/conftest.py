"""Brokers for whole pairs: one of each kind for the session."""

from tests.queue.conftest import nats as nats
from tests.queue.conftest import rabbit as rabbit
from tests.queue.conftest import redis as redis
