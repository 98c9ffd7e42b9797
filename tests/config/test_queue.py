"""What the keys of workers and of deliveries to brokers make of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from roundtrip.config import load
from roundtrip.deliver.broker_settings import AmqpSettings, RedisSettings, ZeromqSettings
from roundtrip.dispatching import room_for
from roundtrip.errors import ConfigError

PIPELINES = "pipelines: {p: {steps: [{name: s, command: [cat]}]}}\n"


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "roundtrip.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> str:
    """What is said of it."""
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    return str(caught.value)


def test_workers_are_off_unless_they_are_asked_for(tmp_path: Path) -> None:
    settings = load(written(tmp_path, "role: b\nqueue: {url: 'redis://h/0'}\n" + PIPELINES))
    assert settings.queue is None


def test_a_queue_has_sensible_defaults_and_its_password_is_in_no_repr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    text = "role: b\ndispatch: queue\nqueue: {url: 'amqp://u:${BROKER_PASSWORD}@h:5672/'}\n"
    settings = load(written(tmp_path, text + PIPELINES))
    queue = settings.queue
    assert queue is not None
    assert queue.url == "amqp://u:hunter2@h:5672/"
    assert (queue.name, queue.folder) == ("roundtrip", tmp_path / "state/queue")
    assert (queue.attempts, queue.heartbeat) == (3, 2.0)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("queue", "words"),
    [
        ("", "dispatch: queue needs queue.url"),
        ("queue: {url: 'http://h/'}", "begins with one of amqp://, amqps://, redis://, rediss://"),
        ("queue: {url: 'amqp:///'}", "has no host"),
        ("queue: {url: 'amqp://h:99999/'}", "check host and port"),
        ("queue: {url: 'redis://h', name: 'a b'}", "must be letters, digits"),
        ("queue: {url: 'redis://h', attempts: 0}", "queue.attempts"),
        ("queue: {url: 'redis://h', heartbeat: 0s}", "more than zero"),
        ("queue: {url: '${MISSING}'}", "the secret MISSING is nowhere"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, queue: str, words: str) -> None:
    assert words in problems(tmp_path, f"role: b\ndispatch: queue\n{queue}\n{PIPELINES}")


def test_host_a_needs_neither_the_queue_nor_its_secret(tmp_path: Path) -> None:
    text = "role: a\ndispatch: queue\nqueue: {url: 'redis://:${MISSING}@h/0'}\n"
    assert load(written(tmp_path, text)).queue is None


def test_as_many_workers_as_the_smallest_limit_of_calls_allows(tmp_path: Path) -> None:
    step = "{name: s, http: {url: 'https://h/{x}'}, concurrency: 7}"
    text = (
        "role: b\ndispatch: queue\nqueue: {url: 'redis://h'}\nhosts: {h: {concurrency: 3}}\n"
        f"pipelines: {{p: {{steps: [{step}]}}, q: {{steps: [{{name: s, command: [cat]}}]}}}}\n"
    )
    assert room_for(load(written(tmp_path, text))) == 3


def test_deliveries_to_brokers_are_built_as_they_are_written(tmp_path: Path) -> None:
    text = """
role: a
deliver:
  one: {amqp: {url: "amqp://h/", exchange: files, routing_key: "ready.{pipeline}"}}
  two: {redis: {url: "redis://h", stream: ready}}
  three: {zeromq: {bind: "tcp://127.0.0.1:5556", pattern: push}}
"""
    one, two, three = load(written(tmp_path, text)).deliveries
    assert one.action == AmqpSettings("amqp://h/", "files", "ready.{pipeline}")
    assert two.action == RedisSettings("redis://h", stream="ready")
    assert three.action == ZeromqSettings(bind="tcp://127.0.0.1:5556", pattern="push")
    assert (two.listens, three.listens) == (False, True)


@pytest.mark.parametrize(
    ("delivery", "words"),
    [
        ("redis: {url: 'redis://h'}", "needs either stream or channel"),
        ("redis: {url: 'redis://h', stream: a, channel: b}", "needs either stream or channel"),
        ("redis: {url: 'amqp://h', stream: a}", "begins with one of redis://, rediss://"),
        ("amqp: {url: 'redis://h'}", "begins with one of amqp://, amqps://"),
        ("zeromq: {topic: x}", "needs either bind or connect"),
        ("zeromq: {bind: 'udp://h:1'}", "is no endpoint"),
    ],
)
def test_a_delivery_that_can_not_be_is_told(tmp_path: Path, delivery: str, words: str) -> None:
    assert words in problems(tmp_path, f"role: a\ndeliver: {{tell: {{{delivery}}}}}\n")
