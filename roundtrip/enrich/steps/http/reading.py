"""An answer's body as it comes: decompressed piece by piece, and never more of it than allowed."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator

import httpx

DRAIN = 64 * 1024  # bytes of a refused answer read so that its connection can be kept
PIECE = 256 * 1024  # bytes decompressed at a time: a bomb is noticed before it fills memory
BOMB_SIZE = 64 * 1024 * 1024  # bytes; an answer without a bound is a bomb beyond this size, when
BOMB_RATIO = 100  # it is this many times as large as what came

_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits


async def whole(response: httpx.Response, limit: int) -> tuple[bytes, str | None]:
    """The whole body, decompressed, and its media type. OverflowError beyond `limit` bytes."""
    media_type, encoding = _described(response)
    body = b""
    rest: list[bytes] = []
    size = 0
    async for piece in _decoded(response, encoding):
        size += len(piece)
        if size > limit:
            raise OverflowError(f"the answer is larger than {limit} bytes")
        if body:
            rest.append(piece)
        else:
            body = piece
    return b"".join((body, *rest)) if rest else body, media_type


def pieces(response: httpx.Response) -> AsyncIterable[bytes]:
    """The body as it comes, decompressed if it was sent compressed.

    Iterating raises httpx.DecodingError when it isn't what its Content-Encoding says, and when it
    is a decompression bomb.
    """
    return _decoded(response, _described(response)[1])


async def close(response: httpx.Response) -> None:
    """Let go of the connection."""
    await _stream(response).aclose()


async def drain(response: httpx.Response) -> None:
    """Read the rest of an unwanted answer if it is short, so that its connection stays."""
    seen = 0
    try:
        async for chunk in _stream(response):
            seen += len(chunk)
            if seen > DRAIN:
                return
    except httpx.TransportError:
        return  # the status is already known, and it is what counts


def _described(response: httpx.Response) -> tuple[str | None, str | None]:
    """Content-Type and Content-Encoding: one look, since httpx goes through all for each."""
    media_type = encoding = None
    for name, value in response.headers.raw:
        lower = name.lower()
        if lower == b"content-type":
            media_type = value.decode("latin-1")
        elif lower == b"content-encoding":
            encoding = value.decode("latin-1").strip().lower()
    return media_type, encoding


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # what an asynchronous transport returns
    return stream


def _decoded(response: httpx.Response, encoding: str | None) -> AsyncIterable[bytes]:
    stream = _stream(response)
    return stream if encoding in (None, "identity", "") else _decompressed(stream, encoding)


async def _decompressed(stream: AsyncIterable[bytes], encoding: str | None) -> AsyncIterator[bytes]:
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise httpx.DecodingError("the answer's Content-Encoding is not one that was asked for")
    inflating = _Inflating(deflate=encoding == "deflate")
    came = made = 0
    async for chunk in stream:
        came += len(chunk)
        for piece in inflating.pieces(chunk):
            made += len(piece)
            if made > BOMB_SIZE and made > BOMB_RATIO * came:
                raise httpx.DecodingError("the answer is a decompression bomb")
            yield piece
    if came and not inflating.ended:
        raise httpx.DecodingError("the answer's compressed body is cut short")


class _Inflating:
    """gzip (RFC 1952, one member after the other) or deflate, which many servers send bare."""

    def __init__(self, deflate: bool) -> None:
        self._deflate = deflate
        self._zlib = None if deflate else zlib.decompressobj(_GZIP)

    @property
    def ended(self) -> bool:
        return self._zlib is not None and self._zlib.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._zlib is None:
                    self._zlib = zlib.decompressobj(_ZLIB if data[0] & 0x0F == 8 else _RAW)
                if self._zlib.eof:
                    if self._deflate or not data.startswith(b"\x1f"):
                        return  # padding
                    self._zlib = zlib.decompressobj(_GZIP)
                piece = self._zlib.decompress(data, PIECE)
                while piece:
                    yield piece
                    # what is left may still be in zlib's own window, with all input consumed
                    full = len(piece) == PIECE and not self._zlib.eof
                    rest = self._zlib.unconsumed_tail
                    piece = self._zlib.decompress(rest, PIECE) if full else b""
                data = self._zlib.unconsumed_tail or self._zlib.unused_data
        except zlib.error:
            raise httpx.DecodingError("the answer's compressed body is broken") from None
