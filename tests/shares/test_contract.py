"""What every folder promises, whatever it is made of: the roles rely on nothing else."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from typing import BinaryIO

import pytest

from roundtrip.errors import ShareError
from roundtrip.protocol.markers import Digest
from roundtrip.shares.port import SMALL, Folder, Kind
from roundtrip.shares.wire import INLINE
from tests.shares.conftest import Adapter, SharedAdapter

SIZES = [0, 1, INLINE, INLINE + 1, SMALL, SMALL + 1, 3 * SMALL + 17]


def content_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def digest_of(content: bytes) -> Digest:
    return Digest(len(content), hashlib.sha256(content).hexdigest())


async def whole(folder: Folder, name: str) -> bytes:
    with await folder.open(name) as payload:
        source = payload.source
        return source if isinstance(source, bytes) else source.read()


class Watched(io.BytesIO):
    """A source that notes what lies in the folder each time it is read."""

    def __init__(self, content: bytes, adapter: SharedAdapter) -> None:
        super().__init__(content)
        self._adapter = adapter
        self.seen: list[set[str]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        self.seen.append(self._adapter.there())
        return super().read(size)


class Torn(io.BytesIO):
    """A source that gives some bytes, then fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() or size == -1:
            raise OSError("the source is torn")
        return super().read(10)


def as_bytes(content: bytes) -> bytes:
    return content


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wrap", [as_bytes, io.BytesIO])
async def test_what_is_put_is_what_is_read_and_the_digest_is_hashlibs(
    folder: Folder, size: int, wrap: Callable[[bytes], BinaryIO]
) -> None:
    content = content_of(size)
    assert await folder.put("n", wrap(content)) == digest_of(content)
    assert await whole(folder, "n") == content
    with await folder.open("n") as payload:
        assert payload.size == size
        assert await payload.digest() == digest_of(content)
        assert await payload.digest() == digest_of(content)  # a file is read from its beginning


async def test_small_payloads_are_in_memory_and_large_ones_are_files(folder: Folder) -> None:
    await folder.put("small", content_of(SMALL))
    await folder.put("large", content_of(SMALL + 1))
    with await folder.open("small") as small, await folder.open("large") as large:
        assert small.content == small.source == content_of(SMALL)
        assert large.content is None and not isinstance(large.source, bytes)


async def test_what_was_opened_in_one_folder_can_be_put_into_another(
    adapter: Adapter,
) -> None:
    adapter.make("inner")
    inner = adapter.folder.sub("inner")
    content = content_of(SMALL + 1)
    await adapter.folder.put("n", content)
    with await adapter.folder.open("n") as payload:
        await payload.digest()
        assert await inner.put("m", payload.source) == digest_of(content)
    assert await whole(inner, "m") == content


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", ["bytes", "stream", "file"])
async def test_what_is_put_into_a_share_is_there_bit_for_bit(
    shared: SharedAdapter, size: int, source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = content_of(size)
    if source == "file":
        path = tmp_path_factory.mktemp("own") / "payload"
        path.write_bytes(content)
        with path.open("rb") as file:
            assert await shared.folder.put("n", file) == digest_of(content)
    else:
        given = content if source == "bytes" else io.BytesIO(content)
        assert await shared.folder.put("n", given) == digest_of(content)
    assert shared.content("n") == content
    assert shared.there() == {"n"}


async def test_a_name_is_not_there_before_its_content_is_whole(shared: SharedAdapter) -> None:
    source = Watched(content_of(3 * SMALL), shared)
    await shared.folder.put("n", source)
    assert source.seen
    assert all("n" not in names for names in source.seen)
    assert shared.there() == {"n"}


@pytest.mark.parametrize("size", [3, INLINE + 1, SMALL + 1])
async def test_put_refuses_a_name_that_is_taken_and_leaves_nothing_behind(
    shared: SharedAdapter, size: int
) -> None:
    await shared.folder.put("n", b"old")
    with pytest.raises(FileExistsError):
        await shared.folder.put("n", io.BytesIO(content_of(size)))
    with pytest.raises(FileExistsError):
        await shared.folder.put("n", content_of(size))
    assert shared.there() == {"n"}
    assert shared.content("n") == b"old"


async def test_put_from_a_source_that_fails_leaves_nothing_behind(shared: SharedAdapter) -> None:
    with pytest.raises(OSError, match="torn"):
        await shared.folder.put("n", Torn(content_of(100)))
    assert shared.there() == set()


async def test_write_replaces_what_is_there_even_by_less(folder: Folder) -> None:
    await folder.write("n", b"a long text")
    assert await folder.write("n", b"short") == digest_of(b"short")
    assert await whole(folder, "n") == b"short"
    await folder.write("n", io.BytesIO(b"x"), durable=True)
    assert await whole(folder, "n") == b"x"


async def test_replace_puts_another_content_in_place_and_leaves_nothing_else(
    adapter: Adapter,
) -> None:
    await adapter.folder.replace("n", b"a long text")
    await adapter.folder.replace("n", b"short")
    assert await whole(adapter.folder, "n") == b"short"
    assert adapter.there() == {"n"}


async def test_create_gives_a_file_to_write_that_is_emptied_first(folder: Folder) -> None:
    await folder.write("n", b"a long text")
    with folder.create("n") as file:
        file.write(b"short")
    assert await whole(folder, "n") == b"short"


async def test_move_takes_the_name_and_the_content_elsewhere(adapter: Adapter) -> None:
    adapter.make("inner")
    inner = adapter.folder.sub("inner")
    await adapter.folder.put("n", b"text")
    before = await adapter.folder.stat("n")
    await adapter.folder.move("n", inner, "m")
    assert await adapter.folder.names() == ["inner"] or await adapter.folder.names() == []
    assert await whole(inner, "m") == b"text"
    assert await inner.stat("m") == before  # the content hasn't changed
    await inner.move("m", adapter.folder, "k", durable=True)
    assert await whole(adapter.folder, "k") == b"text"


async def test_move_never_replaces(adapter: Adapter) -> None:
    adapter.make("inner")
    inner = adapter.folder.sub("inner")
    await adapter.folder.put("n", b"new")
    await inner.put("n", b"old")
    with pytest.raises(FileExistsError):
        await adapter.folder.move("n", inner, "n")
    assert await whole(adapter.folder, "n") == b"new"
    assert await whole(inner, "n") == b"old"


async def test_link_gives_a_file_another_name_that_outlives_the_first(adapter: Adapter) -> None:
    adapter.make("inner")
    inner = adapter.folder.sub("inner")
    await adapter.folder.put("n", b"text")
    await adapter.folder.link("n", inner, "m")
    assert await whole(inner, "m") == await whole(adapter.folder, "n") == b"text"
    assert await adapter.folder.remove("n")
    assert await whole(inner, "m") == b"text"


async def test_link_never_replaces(adapter: Adapter) -> None:
    await adapter.folder.put("n", b"new")
    await adapter.folder.put("m", b"old")
    with pytest.raises(FileExistsError):
        await adapter.folder.link("n", adapter.folder, "m")
    with pytest.raises(FileNotFoundError):
        await adapter.folder.link("gone", adapter.folder, "k")
    assert await whole(adapter.folder, "m") == b"old"


async def test_remove_tells_whether_it_was_there(shared: SharedAdapter) -> None:
    await shared.folder.put("n", b"text")
    assert await shared.folder.remove("n") is True
    assert await shared.folder.remove("n") is False
    assert await shared.folder.stat("n") is None


async def test_stat_says_what_a_name_stands_for(shared: SharedAdapter) -> None:
    await shared.folder.put("n", b"text")
    entry = await shared.folder.stat("n")
    assert entry is not None
    assert (entry.kind, entry.size) == (Kind.FILE, 4)
    assert await shared.folder.stat("m") is None


@pytest.mark.parametrize("more", [0, 500])
async def test_names_lists_all_in_flight_and_internal_ones_too(
    shared: SharedAdapter, more: int
) -> None:
    names = {"n", "n.done", ".n.0a1b2c3d.part", ".nfs01", "a\nb", "caf\udce9", "x" * 200}
    names |= {f"{number:0>40}" for number in range(more)}
    for name in names:
        shared.plant(name, b"")
    found = [name for name in await shared.folder.names() if name != ".roundtrip"]
    assert set(found) == names
    assert len(found) == len(names)


@pytest.mark.parametrize("size", [0, 9, 10, 11, 12, SMALL + 1])
async def test_read_is_cut_off_one_byte_after_its_limit(shared: SharedAdapter, size: int) -> None:
    await shared.folder.put("n", content_of(size))
    assert await shared.folder.read("n", 10) == content_of(min(size, 11))


async def test_a_large_file_is_read_whole_if_the_limit_allows(shared: SharedAdapter) -> None:
    await shared.folder.put("n", content_of(SMALL))
    assert await shared.folder.read("n", SMALL) == content_of(SMALL)


async def test_what_is_not_in_a_share_is_a_file_not_found_error(shared: SharedAdapter) -> None:
    with pytest.raises(FileNotFoundError):
        await shared.folder.read("n", 10)


async def test_a_share_knows_its_room(shared: SharedAdapter) -> None:
    found = await shared.folder.space()
    assert 0 < found.free <= found.total


async def test_what_is_not_there_is_a_file_not_found_error(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        await folder.read("n", 10)
    with pytest.raises(FileNotFoundError):
        await folder.open("n")
    with pytest.raises(FileNotFoundError):
        await folder.is_being_written("n")
    with pytest.raises(FileNotFoundError):
        await folder.move("n", folder, "m")
    with pytest.raises(ShareError, match="inner"):
        folder.sub("inner")


async def test_a_sub_folder_is_a_folder_of_its_own(adapter: Adapter) -> None:
    adapter.make("inner")
    inner = adapter.folder.sub("inner")
    await inner.put("n", b"text")
    assert await adapter.folder.stat("n") is None
    assert inner.label == os.path.join(adapter.folder.label, "inner")


async def test_a_file_that_nobody_has_open_is_not_being_written(folder: Folder) -> None:
    await folder.put("n", b"text")
    assert await folder.is_being_written("n") is False


async def test_a_scan_finds_regular_files_with_their_size_and_nothing_else(
    adapter: Adapter,
) -> None:
    await adapter.folder.put("a", b"12345")
    await adapter.folder.put("b", b"")
    adapter.make("folder")
    found = {file.name: file.size for file in adapter.folder.scan()}
    assert found == {"a": 5, "b": 0}
    entry = await adapter.folder.stat("a")
    assert entry is not None
    assert {file.changed for file in adapter.folder.scan() if file.name == "a"} == {entry.changed}
