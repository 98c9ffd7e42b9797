"""The agents' log: one JSON object a line, whatever is logged, and never in the way."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from roundtrip.logs import JsonLines, LoopHandler


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("roundtrip.test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.handlers.clear()


def handled(log: logging.Logger, stream: io.TextIOBase) -> None:
    handler = LoopHandler(stream)  # type: ignore[arg-type]
    handler.setFormatter(JsonLines())
    log.addHandler(handler)


def test_a_hostile_name_can_neither_forge_a_line_nor_talk_to_a_terminal(
    log: logging.Logger,
) -> None:
    stream = io.StringIO()
    handled(log, stream)
    name = 'x\n{"event": "forged"}\x1b[31m\u202e\udcff'
    log.info("taken", extra={"file": name})
    (line,) = stream.getvalue().splitlines()
    assert line.isascii() and "\x1b" not in line
    assert json.loads(line)["file"] == name


async def test_lines_of_one_turn_are_written_together_and_in_order(log: logging.Logger) -> None:
    writes: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return super().write(text)

    handled(log, Stream())
    for number in range(3):
        log.info("step", extra={"number": number})
    assert writes == []
    await asyncio.sleep(0)
    (text,) = writes
    assert [json.loads(line)["number"] for line in text.splitlines()] == [0, 1, 2]


async def test_a_warning_is_written_at_once_after_what_came_before_it(log: logging.Logger) -> None:
    stream = io.StringIO()
    handled(log, stream)
    log.info("first")
    log.warning("second")
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events == ["first", "second"]


def test_a_log_that_nobody_reads_any_more_stops_nothing(log: logging.Logger) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        handled(log, stream)
        log.info("one")
        log.info("two")


def test_what_a_library_warns_of_is_a_line_of_json() -> None:
    code = (
        "import warnings; from roundtrip import logs; logs.configure('info');"
        "warnings.warn('coroutine x was never awaited', RuntimeWarning)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = told.stderr.splitlines()
    found = json.loads(line)
    assert found["event"] == "python warning"
    assert found["error"] == "RuntimeWarning: coroutine x was never awaited"
