"""From the models of deliveries to message brokers to their settings."""

from __future__ import annotations

from roundtrip.config.broker_models import check_amqp, check_redis
from roundtrip.config.deliver_models import DeliverModel
from roundtrip.config.document import Path as Keys
from roundtrip.config.filling import Filling
from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings, ZeromqSettings
from roundtrip.deliver.settings import Action


def action(filling: Filling, at: Keys, model: DeliverModel) -> tuple[Action, float] | None:
    """What is done, and its time limit in seconds; None if it is of another kind."""
    if (amqp := model.amqp) is not None:
        url = filling.own_checked((*at, "amqp", "url"), amqp.url, check_amqp)
        rest = amqp.model_dump(exclude={"timeout", "url"})
        return AmqpSettings(url, **rest), amqp.timeout
    if (redis := model.redis) is not None:
        url = filling.own_checked((*at, "redis", "url"), redis.url, check_redis)
        return RedisSettings(url, redis.stream, redis.channel, redis.maxlen), redis.timeout
    if (zeromq := model.zeromq) is not None:
        return ZeromqSettings(**zeromq.model_dump(exclude={"timeout"})), zeromq.timeout
    return None
