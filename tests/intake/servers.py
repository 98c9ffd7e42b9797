"""Real file servers on loopback whose upload folder is the outbox: SSH, FTP, SMB."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.intake.hosts import PATIENCE, ran, until


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def serving(port: int, *command: str | Path) -> AsyncIterator[None]:
    """A server of ours until the block ends, with whatever it started."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await until(lambda: process.returncode is not None or answers(port), str(command[0]))
        assert process.returncode is None, f"{command[0]} ended"
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)


@asynccontextmanager
async def ssh(folder: Path) -> AsyncIterator[list[str]]:
    """An sshd of ours; yields the options for ssh, scp and sftp."""
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        await ran("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's chroot; nothing is put there
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    async with serving(port, sshd, "-D", "-e", "-f", folder / "config"):
        options = {
            "Port": port,
            "IdentityFile": folder / "user",
            "UserKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "no",
            "LogLevel": "ERROR",
        }
        yield ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]


FTP = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(sys.argv[2], perm="elradfmwMT")
FTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler).serve_forever()
"""


@asynccontextmanager
async def ftp(folder: Path) -> AsyncIterator[int]:
    """An FTP server for `folder`; yields its port."""
    port = free_port()
    async with serving(port, sys.executable, "-W", "ignore", "-c", FTP, str(port), folder):
        yield port


@asynccontextmanager
async def smb(private: Path, share: Path) -> AsyncIterator[list[str]]:
    """A smbd that shares `share`; yields the start of a smbclient command."""
    port = free_port()
    folders = [f"{kind} directory" for kind in ("lock", "state", "cache", "pid")]
    folders += ["private dir", "ncalrpc dir"]
    lines = [
        "[global]",
        f"smb ports = {port}",
        "interfaces = 127.0.0.1",
        "bind interfaces only = yes",
    ]
    for name in folders:
        (private / name.split()[0]).mkdir(parents=True)
        lines.append(f"{name} = {private / name.split()[0]}")
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    lines += ["map to guest = bad user", f"guest account = {user}", "disable spoolss = yes"]
    lines += ["load printers = no", f"log file = {private}/log", "server role = standalone server"]
    lines += [
        "[box]",
        f"path = {share}",
        "guest ok = yes",
        "read only = no",
        "force user = " + user,
    ]
    (private / "smb.conf").write_text("\n".join(lines) + "\n")
    config = f"--configfile={private}/smb.conf"
    smbd = shutil.which("smbd") or "/usr/sbin/smbd"
    async with serving(port, smbd, "--foreground", "--no-process-group", config):
        yield ["smbclient", "//127.0.0.1/box", "-N", "-p", str(port), config, "-c"]
