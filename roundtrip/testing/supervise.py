"""Runs a torture in a process of its own, which is given up if the share hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import roundtrip
from roundtrip.errors import ShareError
from roundtrip.testing.ground import new_name
from roundtrip.testing.torture import CALM

_BEYOND = 30.0  # seconds more than work and convergence may take: starting, tidying up
_TIDYING = 10.0  # seconds


def torture(share: Path, seconds: float, seed: int) -> dict[str, Any]:
    """The report of a torture of `share`: see `roundtrip.testing.torture.Torture`.

    Raises:
        ShareError: there can't be one.
    """
    with tempfile.TemporaryDirectory(prefix="roundtrip-torture-") as private:
        task = {
            "share": str(share.absolute()),
            "name": new_name(),
            "private": private,
            "seconds": seconds,
            "seed": seed,
        }
        report = _supervised(_Child(task), seconds + CALM + _BEYOND)
    if "error" in report:
        raise ShareError(f"{share}: {report['error'].removeprefix(f'{share}: ')}")
    return report


def _supervised(child: _Child, patience: float) -> dict[str, Any]:
    try:
        output, _ = child.process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return {"broken": [f"the share hangs; {child.give_up()}"]}
    except BaseException:
        child.end()
        raise
    report: dict[str, Any] = json.loads(output or b"{}")
    return report or {"error": f"the process ended early (status {child.process.returncode})"}


class _Child:
    """The process. It tidies up when its standard input ends, and so also when we are killed."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        reading, self._lifeline = os.pipe()
        self.process = _started(task, reading)
        os.close(reading)

    def end(self) -> None:
        """Let it tidy up, or do it in its place."""
        os.close(self._lifeline)
        try:
            self.process.wait(_TIDYING)
        except subprocess.TimeoutExpired:
            self.give_up()

    def give_up(self) -> str:
        """End it whatever it does; says what became of its folder."""
        self.process.kill()
        folder = f"{self._task['share']}/{self._task['name']}"
        remover = _started({"remove": folder}, subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            remover.communicate(timeout=_TIDYING)
            return "what it had made was removed"
        remover.kill()
        return f"{folder} could not be removed: the next torture does that after a day"


def _started(task: dict[str, Any], stdin: int) -> subprocess.Popen[bytes]:
    package = str(Path(roundtrip.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        # -P: what lies in the current folder must not be imported
        [sys.executable, "-P", "-m", "roundtrip.testing.torture", json.dumps(task)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for us alone: we let it tidy up
    )
