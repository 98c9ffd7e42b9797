"""The table of errors: its rows, what they say for each operation, and what the docs say."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from roundtrip.shares.verdicts import (
    TABLE,
    Hung,
    Operation,
    ShareGone,
    Verdict,
    during,
    holds_share,
    of_own_disk,
    of_share,
    verdict,
)

PAGE = Path(__file__).parents[2] / "docs/explanation/mounts.md"
READ, CREATE, WRITE, RENAME, UNLINK = Operation
RETRY, LOOK, HOLD, FAIL = Verdict

ROWS = [
    # error, then the verdict for read, create, write, rename, unlink, and once a look was of no use
    ("EINTR", RETRY, RETRY, RETRY, LOOK, LOOK, RETRY),
    ("EAGAIN", RETRY, RETRY, RETRY, LOOK, LOOK, RETRY),
    ("ESTALE", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("EIO", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("EEXIST", FAIL, FAIL, FAIL, LOOK, FAIL, FAIL),
    ("ENOENT", FAIL, HOLD, FAIL, LOOK, FAIL, FAIL),
    ("ETIMEDOUT", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("EACCES", FAIL, HOLD, FAIL, LOOK, LOOK, FAIL),
    ("EPERM", FAIL, HOLD, FAIL, LOOK, LOOK, FAIL),
    ("EROFS", HOLD, HOLD, HOLD, HOLD, HOLD, HOLD),
    ("EDQUOT", HOLD, HOLD, HOLD, HOLD, HOLD, HOLD),
    ("ENOSPC", HOLD, HOLD, HOLD, HOLD, HOLD, HOLD),
    ("ENOTCONN", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("EHOSTDOWN", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("ENODEV", HOLD, HOLD, HOLD, LOOK, LOOK, HOLD),
    ("ENAMETOOLONG", FAIL, FAIL, FAIL, FAIL, FAIL, FAIL),
    ("EINVAL", FAIL, FAIL, FAIL, FAIL, FAIL, FAIL),
    ("EILSEQ", FAIL, FAIL, FAIL, FAIL, FAIL, FAIL),
    ("EFBIG", FAIL, FAIL, FAIL, FAIL, FAIL, FAIL),
    ("EMFILE", HOLD, HOLD, HOLD, HOLD, HOLD, HOLD),
    ("EBUSY", FAIL, FAIL, FAIL, LOOK, LOOK, FAIL),
    ("EDOM", FAIL, FAIL, FAIL, LOOK, LOOK, FAIL),  # in no row
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_error_has_a_verdict_for_each_operation(row: tuple[str, *tuple[Verdict, ...]]) -> None:
    name, *expected, after_look = row
    number = getattr(errno, name)
    assert [verdict(operation, number) for operation in Operation] == expected
    assert verdict(RENAME, number, looked=True) is after_look


def test_no_verdict_after_a_look_is_another_look() -> None:
    for number in [*TABLE, None, 9999]:
        for operation in Operation:
            assert verdict(operation, number, looked=True) is not LOOK


def test_only_errors_that_a_mounted_share_gave_hold_it() -> None:
    full = OSError(errno.ENOSPC, "full")
    assert not holds_share(full)  # this host's own disk, for all that is known
    assert holds_share(of_share("/mnt/share", full))
    assert not holds_share(of_share("/mnt/share", OSError(errno.ENOENT, "gone")))
    assert not holds_share(of_share("/mnt/share", of_own_disk(OSError(errno.EIO, "torn"))))


def test_what_was_being_done_decides_whether_an_error_holds_the_share() -> None:
    def refused() -> OSError:
        return of_share("/mnt/share", OSError(errno.EACCES, "no"))

    assert holds_share(during(CREATE, refused()))
    assert not holds_share(during(UNLINK, refused()))
    assert not holds_share(refused())


def test_a_mount_that_hangs_and_a_share_that_has_gone_hold_it() -> None:
    hung, gone = Hung("/mnt/s", "2026-11-21T10:00:00Z"), ShareGone("/mnt/s", "another one")
    assert hung.errno == errno.ETIMEDOUT and "2026-11-21T10:00:00Z" in str(hung)
    assert gone.errno == errno.ESTALE and "another one" in str(gone)
    for error in (hung, gone):
        assert holds_share(of_share("/mnt/s", error))


def lines_of_the_table() -> list[str]:
    """The table as docs/explanation/mounts.md shows it."""
    lines = []
    for number, row in TABLE.items():
        looks = " and ".join(each.value for each in Operation if each in row.look)
        others = "".join(f"; {what.value}: {then.value}" for what, then in row.others.items())
        lines.append(
            f"| {errno.errorcode[number]} | {row.why} | {looks or '-'} | "
            f"{row.verdict.value}{others} |"
        )
    return lines


def test_the_documentation_shows_the_table_as_it_is() -> None:
    shown = [line for line in PAGE.read_text().splitlines() if line.startswith("| E")]
    assert shown == lines_of_the_table()
