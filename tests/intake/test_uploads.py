"""Uploads over SSH, FTP and SMB by real servers whose upload folder is the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ftplib import FTP
from io import BytesIO
from pathlib import Path

import pytest

from tests.intake.hosts import Hosts, ran, until
from tests.intake.servers import ftp, smb, ssh
from tests.intake.test_producers import LARGE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
async def ssh_options(tmp_path: Path) -> AsyncIterator[list[str]]:
    async with ssh(tmp_path / "ssh") as options:
        yield options


@pytest.mark.needs("sshd", "scp", "ssh-keygen")
@pytest.mark.parametrize("protocol", ["-s", "-O", "-p"])
async def test_scp(protocol: str, working: Hosts, source: Path, ssh_options: list[str]) -> None:
    """By sftp, by the old rcp protocol, and with times and modes kept."""
    target = f"127.0.0.1:{working.outbox}/orders.csv"
    await ran("scp", protocol, *ssh_options, source, target)
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


@pytest.mark.needs("sshd", "rsync", "ssh-keygen")
async def test_rsync_over_ssh(working: Hosts, source: Path, ssh_options: list[str]) -> None:
    shell = " ".join(["ssh", *ssh_options])
    await ran("rsync", "-a", "-e", shell, source, f"127.0.0.1:{working.outbox}/orders.csv")
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


@pytest.mark.needs("sshd", "sftp", "ssh-keygen")
async def test_sftp_under_another_name_and_then_renamed(
    working: Hosts, source: Path, ssh_options: list[str]
) -> None:
    batch = working.folder / "batch"
    outbox = working.outbox
    batch.write_text(
        f"put {source} {outbox}/x.filepart\nrename {outbox}/x.filepart {outbox}/x.csv\n"
    )
    await ran("sftp", "-q", *ssh_options, "-b", batch, "127.0.0.1")
    assert await working.delivered("x.csv") == LARGE


async def test_ftp(working: Hosts) -> None:
    def upload(port: int) -> None:
        with FTP() as client:
            client.connect("127.0.0.1", port, timeout=20)
            client.login()
            client.storbinary("STOR direct.csv", BytesIO(LARGE))
            client.storbinary("STOR renamed.csv.part", BytesIO(LARGE))
            client.rename("renamed.csv.part", "renamed.csv")

    async with ftp(working.outbox) as port:
        await asyncio.to_thread(upload, port)
        assert await working.delivered("direct.csv") == LARGE
        assert await working.delivered("renamed.csv") == LARGE
    await working.idle()
    assert len(working.results()) == 2


async def test_a_slow_ftp_upload_is_taken_only_when_it_has_ended(working: Hosts) -> None:
    async with ftp(working.outbox) as port:
        client = await asyncio.to_thread(FTP)
        await asyncio.to_thread(client.connect, "127.0.0.1", port, 20)
        await asyncio.to_thread(client.login)
        data = await asyncio.to_thread(client.transfercmd, "STOR slow.csv")
        for _ in range(5):
            await asyncio.to_thread(data.sendall, b"piece\n")
            await until((working.outbox / "slow.csv").exists)
            await asyncio.sleep(0.1)
            assert working.log.of("taken") == []
        data.close()
        await asyncio.to_thread(client.quit)
        assert await working.delivered("slow.csv") == b"piece\n" * 5


@pytest.mark.needs("smbd", "smbclient")
async def test_smb(working: Hosts, source: Path) -> None:
    async with smb(working.folder / "smb", working.outbox) as client:
        await ran(*client, f"put {source} direct.csv")
        await ran(*client, f"put {source} x.tmp; rename x.tmp renamed.csv")
        await ran(*client, f"mkdir ip-intel; put {source} ip-intel\\deep.csv")
        for name in ("direct.csv", "renamed.csv", "deep.csv"):
            assert await working.delivered(name) == LARGE
    await working.idle()
    assert len(working.results()) == 3
