"""What real programs do when they put a file into the outbox, and what comes of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.hosts import Hosts, agents, ran, shell, until

LARGE = b"".join(b"%07d,some words to fill a line with\n" % number for number in range(60_000))
"""2.3 MB: several writes for every producer."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.csv"
    path.write_bytes(LARGE)
    return path


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the outbox."""
    path = Path("/dev/shm") / f"roundtrip-test-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


COPIERS = {
    "cp": "cp {source} {outbox}/orders.csv",
    "cp -p": "cp -p {source} {outbox}/orders.csv",
    "mv": "cp {source} {source}.2; mv {source}.2 {outbox}/orders.csv",
    "redirection": "cat {source} > {outbox}/orders.csv",
    "tee": "tee {outbox}/orders.csv < {source} > /dev/null",
    "dd": "dd if={source} of={outbox}/orders.csv bs=4k status=none",
    "curl": "curl -sS -o {outbox}/orders.csv file://{source}",
    "part then rename": "cp {source} {outbox}/orders.csv.part; "
    "mv {outbox}/orders.csv.part {outbox}/orders.csv",
}


@pytest.mark.needs("curl")
@pytest.mark.parametrize("how", COPIERS)
async def test_a_file_put_there_by(how: str, working: Hosts, source: Path) -> None:
    await shell(COPIERS[how].format(source=source, outbox=working.outbox))
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


async def test_mv_from_another_file_system(working: Hosts, elsewhere: Path) -> None:
    (elsewhere / "orders.csv").write_bytes(LARGE)
    await ran("mv", elsewhere / "orders.csv", working.outbox)
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


RSYNC = {
    "plain": "rsync -aW {source} {outbox}/orders.csv",
    "partial": "rsync -aW --partial {source} {outbox}/orders.csv",
    "delayed": "rsync -aW --delay-updates {source} {outbox}/orders.csv",
    "with a folder for parts": "rsync -aW --partial-dir=.parts {source} {outbox}/orders.csv",
}
LATECOMERS = {
    "rsync --inplace": "rsync -aW --inplace {source} {outbox}/orders.csv",
    "install": "install -m 640 {source} {outbox}/orders.csv",
}
"""These go back to the name after closing, to set modes and times, and complain if it has gone."""


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("how", RSYNC)
async def test_rsync(how: str, working: Hosts, source: Path) -> None:
    await shell(RSYNC[how].format(source=source, outbox=working.outbox))
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("how", LATECOMERS)
async def test_a_latecomer_may_complain_but_its_file_is_whole(
    how: str, working: Hosts, source: Path
) -> None:
    command = LATECOMERS[how].format(source=source, outbox=working.outbox)
    await ran("sh", "-c", command, may_fail=True)
    assert await working.delivered("orders.csv") == LARGE
    await working.idle()
    assert list(working.results()) == ["orders.csv"]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("how", LATECOMERS)
async def test_a_latecomer_has_nothing_to_complain_about_with_a_settle_time(
    how: str, hosts: Hosts, source: Path
) -> None:
    hosts.configure(outbox={"settle": 0.5})
    async with agents(hosts):
        await shell(LATECOMERS[how].format(source=source, outbox=hosts.outbox))
        assert await hosts.delivered("orders.csv") == LARGE
    assert hosts.log.defects == []


async def test_dd_in_slow_pieces_is_taken_only_after_the_last(working: Hosts) -> None:
    script = f"for n in 1 2 3 4 5 6; do echo piece $n; sleep 0.15; done > {working.outbox}/slow.txt"
    whole = b"".join(b"piece %d\n" % n for n in range(1, 7))
    writing, path = asyncio.create_task(shell(script)), working.outbox / "slow.txt"
    await until(path.exists)
    while path.exists() and path.stat().st_size < len(whole):
        assert working.log.of("taken") == []
        await asyncio.sleep(0.02)
    await writing
    assert await working.delivered("slow.txt") == whole


async def test_a_slow_writer_whose_file_another_program_closes_meanwhile(working: Hosts) -> None:
    """A CLOSE_WRITE comes while the first writer is not finished: the lease must tell."""
    with (working.outbox / "slow.txt").open("wb", buffering=0) as writer:
        writer.write(b"first half, ")
        await shell(f": >> {working.outbox}/slow.txt")
        await asyncio.sleep(0.3)
        assert working.log.of("taken") == []
        writer.write(b"second half")
    assert await working.delivered("slow.txt") == b"first half, second half"


async def test_what_is_appended_after_the_close_is_a_second_exchange(working: Hosts) -> None:
    for text in ("one", "two"):
        await shell(f"echo {text} >> {working.outbox}/log.txt")
        await until(lambda: not (working.outbox / "log.txt").exists())
    await until(lambda: len(working.results()) == 2)
    await working.idle()
    assert sorted(working.results().values()) == [b"one\n", b"two\n"]


async def test_two_producers_of_one_name_at_once(working: Hosts) -> None:
    path = working.outbox / "same.txt"
    first = path.open("wb", buffering=0)
    second = path.open("ab", buffering=0)
    first.write(b"first ")
    first.close()
    await asyncio.sleep(0.2)
    assert working.log.of("taken") == []
    second.write(b"second")
    second.close()
    assert await working.delivered("same.txt") == b"first second"


async def test_two_producers_of_one_name_one_after_the_other(working: Hosts) -> None:
    for text in (b"one", b"two", b"three"):
        staged = working.folder / "staged"
        staged.write_bytes(text)
        staged.rename(working.outbox / "same.csv")
    await working.idle()
    # Renamed over each other before anyone looked, they are one file; else each is an exchange.
    results = working.results()
    assert b"three" in results.values()
    assert set(results.values()) <= {b"one", b"two", b"three"}
    assert all(name.startswith("same.") and name.endswith(".csv") for name in results)


VIM = ["vim", "-N", "-u", "NONE", "-i", "NONE", "-es", "--not-a-term"]
VIM_WAYS = {
    "plain": "set nobackup",
    "backup": "set backup backupcopy=no writebackup",
    "backup by copy": "set backup backupcopy=yes writebackup",
    "swap": "set swapfile updatecount=1",
}


@pytest.mark.needs("vim")
@pytest.mark.parametrize("way", VIM_WAYS)
async def test_vim_writes_a_new_and_an_existing_name(way: str, hosts: Hosts) -> None:
    (hosts.outbox / "old.txt").write_text("old\n")
    new, old = hosts.outbox / "new.txt", hosts.outbox / "old.txt"
    script = hosts.folder / "script.vim"
    # vim has the old file in its buffer before the agent starts, and writes it afterwards.
    script.write_text(
        f"{VIM_WAYS[way]}\nedit {old}\nnormal Gorow\n"
        f"call writefile([], '{hosts.folder}/loaded')\n"
        f"while !filereadable('{hosts.folder}/go') | sleep 20m | endwhile\n"
        f"silent! write\nedit! {new}\nnormal ifresh\nsilent! write\nqall!\n"
    )
    # It looks at the name once more after writing, may not find it, and would end its script there.
    editing = asyncio.create_task(ran(*VIM, "-S", script, may_fail=True))
    await until((hosts.folder / "loaded").exists, "vim")
    hosts.configure(outbox={"ignore": ["old.txt"]})  # until vim writes it again
    async with agents(hosts):
        pass
    hosts.configure()
    (hosts.folder / "go").touch()
    async with agents(hosts):
        await editing
        await hosts.delivered("new.txt")
        # Taken before vim opened it for writing, the file has gone, and vim refuses to write it.
        await until(lambda: {b"old\n", b"old\nrow\n"} & set(hosts.results().values()))
        await hosts.idle()
    assert set(hosts.results().values()) <= {b"fresh\n", b"old\n", b"old\nrow\n"}
    assert all(name.startswith(("new.", "old.")) for name in hosts.results())
    assert hosts.log.defects == []


async def test_tar_extraction_with_a_pipeline_folder(working: Hosts, source: Path) -> None:
    archive = working.folder / "many.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for number in range(20):
            tar.add(source if number == 7 else __file__, f"ip-intel/file{number}.csv")
        tar.add(source, "top.csv")
    await ran("tar", "-xzf", archive, "-C", working.outbox)
    await until(lambda: len(working.results()) == 21, "21 results")
    assert working.results()["file7.csv"] == working.results()["top.csv"] == LARGE
    assert working.results()["file1.csv"] == Path(__file__).read_bytes()


async def test_two_thousand_files_moved_in_at_once(hosts: Hosts) -> None:
    staged = hosts.folder / "staged"
    staged.mkdir()
    for number in range(2000):
        (staged / f"f{number}.txt").write_text(f"{number}\n")
    async with agents(hosts, "a"):
        # mv looks at each name once more after its rename, and complains if it has gone.
        await ran("sh", "-c", f"mv {staged}/* {hosts.outbox}", may_fail=True)

        def requests() -> list[Path]:
            return list(hosts.unenriched.glob("*.done"))

        await until(lambda: len(requests()) == 2000, "2,000 requests")
    payloads = {path.with_suffix("") for path in requests()}
    sent = {path.name[27:]: path.read_bytes() for path in payloads}
    assert sent == {f"f{number}.txt": b"%d\n" % number for number in range(2000)}
    assert os.listdir(hosts.outbox) == []
    assert hosts.log.defects == []
