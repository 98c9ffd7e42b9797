"""Shell blocks of the delivery pages do what they say, in the plainest shell there is."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.deliver.parcels import parcel_of
from tests.deliver.postbox import post_office
from tests.deliver.test_feed import feed
from tests.deliver.test_mail import mailer, server_of

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"
ODD = b"id,name\r\n1,caf\xe9\n.\n\x00\xff" + bytes(range(256)) * 50


def block(page: str) -> str:
    (found,) = re.findall(r"```sh\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    return str(found)


@pytest.mark.needs("nc", "jq", "dash")
async def test_the_feeds_shell_loop_gets_each_path_at_once_and_no_clients_words(
    tmp_path: Path,
) -> None:
    async with feed() as made:
        host, port = made.address
        script = block("tcp-feed.md").replace("127.0.0.1 7007", f"{host} {port}")
        shell = await asyncio.create_subprocess_exec(
            "dash", "-c", script, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        assert shell.stdout is not None
        async with asyncio.timeout(20):
            while not made._clients:
                await asyncio.sleep(0.01)
            talking = (await asyncio.open_connection(host, port))[1]
            talking.write(b"hello\n")
            for number, name in enumerate(("a b.csv", "c\\n.csv")):
                await made.deliver(parcel_of(tmp_path, b"x", number, name))
                assert await shell.stdout.readline() == f"ready: {tmp_path}/{name}\n".encode()
            talking.close()
    await shell.wait()


@pytest.mark.needs("dash")
@pytest.mark.parametrize("name", ["orders.csv", "invoice.pdf", "words.txt", "Ödön.jsonl"])
async def test_the_file_comes_out_of_its_mail_byte_for_byte(tmp_path: Path, name: str) -> None:
    with post_office(tmp_path) as office:
        await mailer(server_of(office)).deliver(parcel_of(tmp_path, ODD, name=name))
        (envelope,) = office.box.envelopes
    content = envelope.content
    (tmp_path / "mail").write_bytes(content if isinstance(content, bytes) else b"")
    subprocess.run(["dash", "-c", block("deliver-by-mail.md")], cwd=tmp_path, check=True)
    assert (tmp_path / "result").read_bytes() == ODD
