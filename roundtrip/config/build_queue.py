"""From the model of `queue` to how requests reach workers."""

from __future__ import annotations

from roundtrip.config.filling import Filling
from roundtrip.config.queue_models import QueueModel, check_broker
from roundtrip.dispatch.settings import QueueSettings


def queue(filling: Filling, dispatch: str, model: QueueModel) -> QueueSettings | None:
    """The queue, if workers are to enrich; what its address has wrong is noted."""
    if dispatch != "queue" or filling.role != "b":
        return None
    if model.url is None:
        filling.problem(
            ("queue",), "dispatch: queue needs queue.url, the broker, like amqp://host:5672/"
        )
        return None
    url = filling.sent(("queue", "url"), model.url)
    if "${" not in url:
        try:
            check_broker(url)
        except ValueError as error:
            filling.problem(("queue", "url"), f"{error} (with its secrets filled in)")
    return QueueSettings(
        url=url,
        name=model.name,
        folder=filling.path(("queue", "folder"), model.folder),
        attempts=model.attempts,
        heartbeat=model.heartbeat,
    )
