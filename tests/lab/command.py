"""Two hosts with kernels of their own on one machine, deployed by ansible/ and tested.

scripts/lab up                     two bare guests, a and b; --nas, --workers: a third one
scripts/lab deploy                 run the playbook, run it again, verify
scripts/lab exec a -- COMMAND      run a command in a guest
scripts/lab cut | heal             let no packet pass between guests; let them pass again
scripts/lab test                   all of it, for each transport, and the tests
scripts/lab down                   end and remove everything but the cached image
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from tests.lab import lab, network
from tests.lab.deploy import TRANSPORTS, deploy
from tests.lab.names import ADDRESSES
from tests.lab.shell import LabError


def _up(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    with lab.alone():
        guests = lab.up(lab.guests(arguments))
    for name, machine in guests.items():
        print(f"{name}  {machine.address}  process {machine.pid}")
    print(f"up after {lab.timed(begun)}")
    return 0


def _deploy(arguments: argparse.Namespace) -> int:
    with lab.alone():
        deploy(arguments.transport, arguments.workers)
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    guest = lab.machines().get(arguments.guest)
    if guest is None:
        raise LabError(f"guest {arguments.guest} does not run; start it with scripts/lab up")
    words = [word for word in arguments.command if word != "--"]
    # One word is a line for the guest's shell, as with ssh(1); several are passed on as they are.
    line = guest.ssh(*([words[0]] if len(words) == 1 else [shlex.join(words)] if words else []))
    os.execvp(line[0], line)


def _cut(_: argparse.Namespace) -> int:
    _need_lab()
    network.cut()
    return 0


def _heal(_: argparse.Namespace) -> int:
    _need_lab()
    network.heal()
    return 0


def _need_lab() -> None:
    if not network.exists():
        raise LabError("there is no lab; make one with scripts/lab up")


def _down(_: argparse.Namespace) -> int:
    with lab.alone():
        lab.down()
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from tests.lab.matrix import run_all  # Everything else works without it.

    with lab.alone():
        return run_all(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, act: Callable[[argparse.Namespace], int], words: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words)
        made.set_defaults(act=act)
        return made

    up = command("up", _up, "make and start what is missing")
    up.add_argument("--nas", action="store_true", help="a third guest, that only serves")
    _add_workers(up)
    roll = command("deploy", _deploy, "run the playbook twice, then verify")
    roll.add_argument("--transport", choices=TRANSPORTS, default="nfs4")
    _add_workers(roll)
    run = command("exec", _exec, "run a command in a guest, or a shell")
    run.add_argument("guest", choices=tuple(ADDRESSES))
    run.add_argument("command", nargs=argparse.REMAINDER)
    command("cut", _cut, "let no packet pass between guests")
    command("heal", _heal, "let packets pass again")
    command("down", _down, "end and remove everything but the image")
    test = command("test", _test, "deploy from bare and test, for each transport")
    test.add_argument("--transport", choices=TRANSPORTS, action="append",
                      help="only this one; may be given more than once")  # fmt: skip
    test.add_argument("--only", metavar="NAME", action="append",
                      help="only this test; may be given more than once")  # fmt: skip
    test.add_argument("--quick", action="store_true", help="leave out the cut of 300 s")
    test.add_argument("--keep", action="store_true",
                      help="use the lab as it is, and leave it up")  # fmt: skip
    test.add_argument("--nas", action="store_true", help="both shares on a third guest (nfs4)")
    _add_workers(test)
    return parser


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        nargs="?",
        choices=("redis", "rabbitmq"),
        const="redis",
        default="",
        help="workers on b and on a third guest, and a broker (redis if none is named)",
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(words)
    try:
        status: int = arguments.act(arguments)
    except LabError as error:
        print(f"scripts/lab: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
