"""One run by itself: what leaves a claim, and what doesn't."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from roundtrip.watching import claim
from roundtrip.watching.journal import Entry
from roundtrip.watching.run import Job, perform

ENTRY = Entry("file", "identity", "failed", run=5)


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    path = tmp_path / "claims"
    path.mkdir()
    return path


def test_a_run_leaves_a_claim_that_says_how_it_ended(claims: Path) -> None:
    seen: list[list[str]] = []
    job = Job(ENTRY, ["sh", "-c", "echo words >&2; exit 3"])
    outcome = perform(job, claims, lambda: seen.append(os.listdir(claims)))
    assert seen == [["5"]]
    assert (outcome.code, outcome.reason, outcome.stderr) == (3, "exit code 3", "words\n")
    with pytest.raises(BlockingIOError):  # This process still has it.
        claim.take(claims / "5")
    assert claim.running_entry(claims / "5") == ENTRY


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_want_of_room_for_a_process_is_no_run_and_leaves_no_claim(
    claims: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Limits of processes don't hold for root, as whom this may run."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_spawnp", refuse)
    with pytest.raises(OSError):
        perform(Job(ENTRY, ["true"]), claims, lambda: None)
    assert os.listdir(claims) == []


@pytest.mark.parametrize(
    "content", [b"", b'{"path": "f", "iden', b"\x00" * 100, b"[]\n", b'{"path": 1}\n', b'"x"\n']
)
def test_a_claim_that_a_power_cut_has_torn_is_of_a_run_that_never_began(
    claims: Path, content: bytes
) -> None:
    """A run begins when its claim is on disk, whole."""
    (claims / "7").write_bytes(content)
    assert claim.take(claims / "7") is None


@pytest.mark.parametrize(
    "end", [b"", b'{"code": 0, "sec', b'{"code": 0, "seconds": 1.0}', b"[]\n", b'{"x": 1}\n']
)
def test_a_claim_with_a_torn_end_is_of_a_run_whose_end_nobody_saw(
    claims: Path, end: bytes, make_claim: Callable[[bytes], Path]
) -> None:
    left = claim.take(make_claim(end))
    assert left is not None
    assert left.entry == ENTRY and left.outcome is None


@pytest.fixture
def make_claim(claims: Path) -> Callable[[bytes], Path]:
    def make(end: bytes) -> Path:
        made = claim.Claim(claims, ENTRY)
        os.write(made.descriptor, end)
        os.close(made.descriptor)
        return claims / "5"

    return make
