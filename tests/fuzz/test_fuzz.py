"""Whatever the bytes: no reader of other hosts' files crashes, hangs, or talks to a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from roundtrip.errors import UnusableMarker
from roundtrip.protocol.documents import printable, read_object, shown
from roundtrip.protocol.markers import MAX_BYTES, RequestMarker
from tests.fuzz.mutants import HOSTILE, RAW, mutants
from tests.fuzz.targets import EXCHANGE, TARGETS

CORPUS = Path(__file__).parent / "corpus"
FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"
SECONDS = 1.0  # for one input on a busy machine; the slowest was measured at 15 ms
KEPT = sorted(path for path in CORPUS.glob("*/*"))
DOCUMENTS = [name for name in TARGETS if name not in ("names", "config")]


def run(name: str, data: bytes) -> None:
    began = time.process_time()
    TARGETS[name].run(data)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name[:12]}")
def test_what_was_once_found_stays_mended(path: Path) -> None:
    run(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        run(name, seed)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nearly_right_documents_are_read_or_refused(name: str) -> None:
    for data in islice(mutants(TARGETS[name].seeds[0], seed=2), 4000):
        run(name, data)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_member_survives_every_hostile_value(name: str) -> None:
    good = json.loads(TARGETS[name].seeds[0])
    for key in [*good, "new"]:
        for value in HOSTILE:
            run(name, json.dumps({**good, key: value}).encode())
        for raw in RAW:
            made = json.dumps({**good, key: "\x01"}).encode()
            run(name, made.replace(b'"\\u0001"', raw))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_depth_of_nesting_is_too_deep(name: str) -> None:
    """Near the interpreter's limit, what could be read can no longer be shown or written."""
    good = json.loads(TARGETS[name].seeds[0])
    key = next(iter(good.keys() - {"v", "exchange", "time", "id"}))
    for depth in [*range(880, 1010, 3), 5000, 60_000]:
        made = json.dumps({**good, key: "\x01"}).encode()
        run(name, made.replace(b'"\\u0001"', b"[" * depth + b"]" * depth))


WORST = {
    "brackets": b"[" * MAX_BYTES,
    "braces": b'{"":' * (MAX_BYTES // 4),
    "digits": b'{"v":1,"size":' + b"9" * 65_000 + b"}",
    "long numbers": b"[" + b",".join([b"9" * 4000] * 16) + b"]",
    "escapes": b'{"v":1,"pipeline":"' + b"\\u001b" * 10_900 + b'"}',
    "keys": b"{" + b",".join(b'"%d":1' % n for n in range(6000)) + b"}",
    "equal keys": b"{" + b",".join([b'"v":1'] * 10_000) + b"}",
    "spaces": b" " * MAX_BYTES,
    "backslashes": b'"' + b"\\" * 65_000,
    "exponents": b'{"v":1,"x":[' + b",".join([b"1e99999999"] * 5000) + b"]}",
}


@pytest.mark.parametrize("kind", WORST)
def test_the_time_is_linear_in_the_length(kind: str) -> None:
    data = WORST[kind][:MAX_BYTES]
    for name in DOCUMENTS:
        run(name, data)


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "a\nb", "\u202egpj", "\ud800", "\x9b1m", "\u2028", "\0"]
)
def test_nothing_that_is_shown_can_talk_to_a_terminal(text: str) -> None:
    for words in (printable(text), shown(text), shown([text])):
        assert words.isprintable()
        words.encode()


@pytest.mark.parametrize("value", ["x" * 10**6, "\x1b" * 10**6, [["x"]], {"a": 1}, 1e308, 10**300])
def test_a_value_that_is_shown_is_short(value: object) -> None:
    assert len(shown(value)) < 80


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number: bytes) -> None:
    with pytest.raises(ValueError, match="is no JSON number"):
        read_object(b'{"x": ' + number + b"}")


def test_of_equal_keys_the_last_one_counts() -> None:
    assert read_object(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("key", ["original_name", "pipeline", "created", "deadline", "traceparent"])
def test_a_text_that_can_not_be_written_makes_a_marker_unusable(key: str) -> None:
    content = json.dumps({"v": 1, key: "x\ud800"}).encode()
    with pytest.raises(UnusableMarker, match="is not Unicode text"):
        RequestMarker.decode(content, EXCHANGE)


# The search itself


@pytest.mark.needs("atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_search_finds_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), name, "--runs", "5000", "--seconds", "20"]
    done = subprocess.run(
        [*command, "--finds", str(tmp_path)], capture_output=True, text=True, check=False
    )
    found = [path.read_bytes() for path in tmp_path.iterdir()]
    assert done.returncode == 0 and not found, (done.stderr[-2000:], found)


def test_the_search_tells_what_it_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fuzzer that can't fail proves nothing: here the share's reader is one that does."""
    script = {"__name__": "fuzz", "__file__": str(FUZZ)}
    exec(compile(FUZZ.read_text(), str(FUZZ), "exec"), script)

    def careless(data: bytes) -> None:
        json.loads(data)

    monkeypatch.setitem(TARGETS, "share", TARGETS["share"]._replace(run=careless))
    words = ["fuzz", "share", "--mutants", "200", "--finds", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    assert script["main"]() == 1  # type: ignore[operator]
    assert "the input is in" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 1
