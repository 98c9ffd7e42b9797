"""Errors that come before the effect, and errors that come after it: the names decide."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roundtrip.shares import outcomes
from roundtrip.shares.posix import PosixFolder
from roundtrip.shares.verdicts import TABLE, Operation, Verdict, verdict

ERRORS = sorted(TABLE)


def name_of(number: int) -> str:
    return errno.errorcode[number]


def fails(number: int, really: Callable[..., Any] | None, times: int = 100) -> Callable[..., Any]:
    """A call that has its effect if `really` is given, and always ends with an error."""
    left = times

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left == 0:
            return really and really(*args, **options)
        left -= 1
        if really is not None:
            really(*args, **options)
        raise OSError(number, os.strerror(number))

    return call


def looks_first(operation: Operation, number: int) -> bool:
    return verdict(operation, number) is Verdict.LOOK


@pytest.mark.parametrize("number", ERRORS, ids=name_of)
async def test_a_rename_whose_error_came_after_the_effect_has_happened(
    real: PosixFolder, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not looks_first(Operation.RENAME, number):
        return
    really = outcomes.rename_without_replacing
    monkeypatch.setattr(outcomes, "rename_without_replacing", fails(number, really))
    await real.put("n", b"text")
    assert await real.names() == ["n"]
    assert await real.read("n", 10) == b"text"


@pytest.mark.parametrize("number", ERRORS, ids=name_of)
async def test_a_rename_whose_error_came_before_the_effect_is_told_and_leaves_nothing(
    real: PosixFolder, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if number in (errno.EINVAL, errno.ENOSYS):
        return  # says that RENAME_NOREPLACE is not known here
    monkeypatch.setattr(outcomes, "rename_without_replacing", fails(number, None))
    with pytest.raises(OSError) as told:
        await real.put("n", b"text")
    assert told.value.errno == number
    assert await real.names() == []


@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN], ids=name_of)
async def test_a_rename_that_was_interrupted_is_done_again(
    real: PosixFolder, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = outcomes.rename_without_replacing
    calls = []

    def interrupted(*args: Any) -> None:
        calls.append(args)
        if len(calls) < 3:
            raise OSError(number, os.strerror(number))
        really(*args)

    monkeypatch.setattr(outcomes, "rename_without_replacing", interrupted)
    await real.put("n", b"text")
    assert await real.names() == ["n"]


async def test_an_own_file_of_the_same_looks_does_not_pass_for_the_one_that_was_not_renamed(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await real.put("n", b"text")
    before = os.stat(real.path / "n")
    really = outcomes.rename_without_replacing

    def taken(source: int, name: str, target: int, new_name: str) -> None:
        os.utime(name, ns=(before.st_mtime_ns, before.st_mtime_ns), dir_fd=source)
        really(source, name, target, new_name)

    monkeypatch.setattr(outcomes, "rename_without_replacing", taken)
    with pytest.raises(FileExistsError):
        await real.put("n", b"TEXT")
    assert await real.names() == ["n"]
    assert await real.read("n", 10) == b"text"


async def test_a_rename_by_link_and_unlink_that_stopped_in_between_is_finished(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: int, name: str, target: int, new_name: str) -> None:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(outcomes, "rename_without_replacing", half)
    await real.put("n", b"text")
    assert await real.names() == ["n"]


async def test_a_file_numbered_anew_by_its_rename_is_known_by_size_and_time(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(source: int, name: str, target: int, new_name: str) -> None:
        found = os.stat(name, dir_fd=source)
        (real.path / new_name).write_bytes((real.path / name).read_bytes())
        os.utime(new_name, ns=(found.st_mtime_ns, found.st_mtime_ns), dir_fd=target)
        os.unlink(name, dir_fd=source)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(outcomes, "rename_without_replacing", copied)
    await real.put("n", b"text")
    assert await real.names() == ["n"]


async def test_another_file_at_the_new_name_is_no_proof(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(source: int, name: str, target: int, new_name: str) -> None:
        os.unlink(name, dir_fd=source)
        (real.path / new_name).write_bytes(b"something else")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(outcomes, "rename_without_replacing", lost)
    with pytest.raises(OSError, match="Input/output"):
        await real.put("n", b"text")


async def test_when_the_look_fails_too_the_first_error_is_told(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "rename_without_replacing", fails(errno.ETIMEDOUT, None))
    monkeypatch.setattr(outcomes, "_look", fails(errno.EIO, None))
    with pytest.raises(TimeoutError):
        await real.put("n", b"text")


@pytest.mark.parametrize("number", ERRORS, ids=name_of)
@pytest.mark.parametrize("happened", [False, True], ids=["before", "after"])
async def test_an_unlink_has_happened_if_the_name_has_gone(
    real: PosixFolder, number: int, happened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await real.put("n", b"text")
    really = os.unlink if happened else None
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", fails(number, really))
        if number == errno.ENOENT:
            assert await real.remove("n") is False
        elif happened and looks_first(Operation.UNLINK, number):
            assert await real.remove("n") is True
        else:
            with pytest.raises(OSError) as told:
                await real.remove("n")
            assert told.value.errno == number
    assert await real.names() == ([] if happened else ["n"])


async def test_an_own_part_that_is_there_already_is_made_anew(
    real: PosixFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An NFS client that sent the creation twice: the first one had its effect.
    really = os.open
    seen: list[Any] = []

    def sent_twice(path: Any, flags: int, *args: Any, **options: Any) -> int:
        opened = really(path, flags, *args, **options)
        if flags & os.O_EXCL and not seen:
            seen.append(path)
            os.close(opened)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return opened

    monkeypatch.setattr(os, "open", sent_twice)
    await real.put("n", b"text")
    assert seen and await real.names() == ["n"]


async def test_a_move_on_the_own_disk_looks_as_well(
    real: PosixFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = PosixFolder(tmp_path / "other")
    await real.put("n", b"text")
    really = outcomes.rename_without_replacing
    monkeypatch.setattr(outcomes, "rename_without_replacing", fails(errno.EIO, really))
    await real.move("n", other, "m")
    assert await other.names() == ["m"] and await real.names() == []
