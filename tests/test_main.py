"""The command line's last line of defence."""

from __future__ import annotations

import argparse

import pytest

from roundtrip.cli import main as module
from roundtrip.cli import status
from roundtrip.errors import ExitCode, ShareError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ShareError("/mnt/x: not a share"), ExitCode.SHARE, "roundtrip: /mnt/x: not a share"),
        (PermissionError(13, "Permission denied", "/mnt/x"), ExitCode.SHARE, "/mnt/x: Permission"),
        (KeyError("done"), ExitCode.INTERNAL, "a defect in roundtrip itself: KeyError('done')"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, ""),
    ],
)
def test_every_error_is_one_line_and_an_exit_code_never_a_traceback(
    error: BaseException,
    code: ExitCode,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(status, "run", fail)
    assert module.main(["status"]) == code
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == (1 if line else 0)
