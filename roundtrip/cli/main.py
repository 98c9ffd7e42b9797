"""The `roundtrip` command's way in: Ctrl-C ends it without a word also while modules are imported.

Until the handler is set, Python would print a traceback, so next to nothing is imported here.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # As of `typing`.
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

_INTERRUPTED = 130
"""As `ExitCode.INTERRUPTED`, which is not imported yet."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (`ExitCode`)."""
    before = signal.getsignal(signal.SIGINT)
    # Else it is ignored, as in a shell's background.
    is_ours = before is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, _end)
    try:
        # Nothing is done yet; and imports answer a KeyboardInterrupt with words.
        from roundtrip.cli.commands import run
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, before)
    told = sys.unraisablehook
    sys.unraisablehook = _end_or_tell
    try:
        return run(arguments)
    finally:
        sys.unraisablehook = told


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _end_or_tell(found: sys.UnraisableHookArgs, /) -> None:
    """The same where Python would print a traceback and go on: in a callback of an import, say."""
    if issubclass(found.exc_type, KeyboardInterrupt):
        os._exit(_INTERRUPTED)
    sys.__unraisablehook__(found)
