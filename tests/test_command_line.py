"""The command line by itself: where options stand, closed streams, Ctrl-C at the very beginning."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roundtrip.cli.commands import build_parser
from roundtrip.cli.values import duration, interval, time_span

ROUNDTRIP = [sys.executable, "-m", "roundtrip"]
REPOSITORY = Path(__file__).parents[1]
INTERRUPTER = '''
import os, signal, sys

class Interrupter:
    """Ctrl-C as soon as this module is imported; inside a callback, if one is wanted."""
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            class Ends:
                def __del__(self):
                    signal.raise_signal(signal.SIGINT)
                    len([0])  # Here it arrives.
            Ends() if {ignored} else signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
'''


def shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `roundtrip` with a redirection of bash's, its output buffered as usual."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirection}', "-", *ROUNDTRIP, *arguments],
        capture_output=True, timeout=60, check=False, cwd=REPOSITORY, env=environment,
    )  # fmt: skip


# Where options stand


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["send", "a", "--deadline", "1h", "b"], ["a", "b"]),
        (["send", "-t", "email", "a@b.c", "--deadline", "1s", "-"], ["a@b.c", "-"]),
        (["send", "--wait", "a", "--json", "-", "--pause", "1s"], ["a", "-"]),
        (["send", "--", "-a", "--wait"], ["-a", "--wait"]),
        (["send", "a", "--wait", "--", "-b", "--"], ["a", "-b", "--"]),
    ],
)
def test_options_may_stand_between_files(arguments: list[str], names: list[str]) -> None:
    assert build_parser().parse_args(arguments).files == names


@pytest.mark.parametrize("command", ["poll", "cancel"])
def test_options_may_stand_between_names(command: str) -> None:
    args = build_parser().parse_args([command, "x", "--config", "f", "y"])
    assert (args.exchanges, args.config) == (["x", "y"], Path("f"))


def test_options_may_stand_between_names_of_a_command_s_command() -> None:
    args = build_parser().parse_args(["deliveries", "drop", "x", "--dead", "y"])
    assert (args.names, args.dead) == (["x", "y"], True)


def test_what_follows_a_watch_s_exec_is_left_alone() -> None:
    args = build_parser().parse_args(["watch", "in", "--json", "--exec", "cp", "--json", "{path}"])
    assert args.command_line == ["cp", "--json", "{path}"]


@pytest.mark.parametrize("command", ["send", "status"])
def test_what_is_unknown_is_refused_with_the_command_s_own_usage(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "x", "--nonsense"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"usage: roundtrip {command} ")
    assert "unrecognized arguments: " in told.splitlines()[-1]
    assert "--nonsense" in told.splitlines()[-1]


# Spans of time


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("2.5", 2.5), ("90", 90), ("3m", 180), ("30d", 2592000)]
)
def test_a_span_of_time_is_a_number_of_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["nan", "-1", "inf", "-inf", "1e3", "", "soon"])
def test_no_span_of_time_is_endless_negative_or_no_number(text: str) -> None:
    for kind in (duration, time_span, interval):
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "--timeout", "nan", "x"),
        ("send", "--timeout", "-1", "x"),
        ("poll", "-i", "0", "x"),
        ("poll", "--timeout", "inf", "x"),
        ("status", "--watch", "--interval", "-1"),
        ("status", "--watch", "--interval", "nan"),
        ("status", "--watch", "--interval", "0"),
        ("torture", "--seconds", "nan"),
    ],
)
def test_such_a_span_is_refused_as_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["send", "--timeout", "3m", "x"], "timeout"),
        (["poll", "--timeout", "180", "x"], "timeout"),
        (["poll", "-i", "3m", "x"], "interval"),
        (["status", "--interval", "180"], "interval"),
    ],
)
def test_all_options_take_both(arguments: list[str], name: str) -> None:
    assert getattr(build_parser().parse_args(arguments), name) == 180


# Closed streams


@pytest.mark.parametrize("arguments", [("send", "-t", "poll", "README.md"), ("poll", "x")])
def test_without_a_standard_output_nothing_is_done(arguments: tuple[str, ...]) -> None:
    done = shell(">&-", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    [line] = done.stderr.decode().splitlines()
    assert "standard output is closed" in line


def test_a_closed_standard_input_can_t_be_sent() -> None:
    done = shell("<&-", "send", "-t", "pipe", "-")
    assert done.returncode == 2
    [line] = done.stderr.decode().splitlines()
    assert "standard input is closed" in line


@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_error_changes_no_exit_status(redirection: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "no.yaml")
    done = shell(redirection, "send", "--config", missing, "-t", "pipe", "README.md")
    assert done.returncode == (2 if ">&- 2" in redirection.replace("<&- 2", "") else 3)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    script = (
        "from roundtrip.cli import streams; streams.mend(); "
        "import os; assert os.open('/dev/null', os.O_RDONLY) > 2"
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "-", sys.executable, "-c", script],
        timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [("--version",), ("send", "--help")])
def test_a_standard_output_that_is_full_is_told_in_one_line(arguments: tuple[str, ...]) -> None:
    done = shell(">/dev/full", *arguments)
    assert done.returncode == 4
    assert done.stderr == b"roundtrip: standard output: No space left on device\n"


# Ctrl-C


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("module", ["argparse", "roundtrip.cli.watch", "roundtrip.client", "yaml"])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(
    module: str, ignored: bool, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTER.format(module=module, ignored=ignored))
    done = subprocess.run(
        ["env", "--default-signal", f"PYTHONPATH={tmp_path}", *ROUNDTRIP, "poll", "--config",
         str(REPOSITORY / "README.md")],
        capture_output=True, timeout=60, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
