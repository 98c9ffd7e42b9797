"""A share whose mount goes, comes back, or is another one: real mounts, in own namespaces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from roundtrip.protocol.states import Role
from roundtrip.shares.identity import establish
from tests.shares.mounting import SCENES

REPOSITORY = Path(__file__).parents[2]
ONLY_DIRECT = {"gone_between_check_and_write"}  # it changes the code of this process


def unshared(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-m", "--propagation", "private", *command],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=100,
        check=False,
    )


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("access", ["direct", "helper"])
@pytest.mark.parametrize("scene", SCENES)
def test_a_share_is_written_to_only_where_it_was_verified(
    scene: str, access: str, tmp_path: Path
) -> None:
    if access == "helper" and scene in ONLY_DIRECT:
        return
    played = unshared(sys.executable, "-m", "tests.shares.mounting", scene, access, str(tmp_path))
    assert played.returncode == 0, played.stderr


SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.shares.conftest import opened_share

async def main():
    share = await opened_share(Path(sys.argv[1]), sys.argv[2])
    for call in sys.argv[3:]:
        try:
            done = await (share.put("n", b"text") if call == "put" else share.remove("n"))
        except OSError as error:
            done = error.errno
        names = [name for name in await share.names() if name != ".roundtrip"]
        print(call, type(done).__name__, done if isinstance(done, int) else "", names)
    await share.close()

asyncio.run(main())
"""

INJECTED = [
    ("renameat2:error=EIO", ["put int 5 []"]),
    ("renameat2:error=EINTR:when=1..2", ["put Digest  ['n']"]),
    ("renameat2:error=EINVAL", ["put Digest  ['n']", "put int 17 ['n']"]),
    ("unlinkat:error=EIO", ["put Digest  ['n']", "remove int 5 ['n']"]),
    ("unlinkat:error=EAGAIN:when=1", ["put Digest  ['n']", "remove bool True []"]),
]


@pytest.mark.needs("strace")
@pytest.mark.parametrize("access", ["direct", "helper"])
@pytest.mark.parametrize(("injected", "expected"), INJECTED, ids=lambda value: str(value)[:30])
def test_errors_of_a_real_process_s_calls_are_decided_by_the_names(
    injected: str, expected: list[str], access: str, tmp_path: Path
) -> None:
    calls = [line.split()[0] for line in expected]
    # Before it is traced: making the share's identity renames, too.
    asyncio.run(establish(tmp_path, Role.RESPONDER))
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"]
    inject = ["-e", f"trace={injected.partition(':')[0]}", "-e", f"inject={injected}"]
    python = [sys.executable, "-c", SCRIPT, str(tmp_path), access, *calls]
    done = subprocess.run(
        [*strace, *inject, *python],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=100,
        check=False,
    )
    assert done.stdout.splitlines() == expected, done.stderr
