"""JPEGs out of a byte stream: parts with a Content-Length, as ffmpeg's mpjpeg muxer writes them.

The length makes this cheap (no search through the picture) and exact (no guess from JPEG markers, which a thumbnail
inside a JPEG can imitate). Additional `X-` headers of a part are given along.
"""

from __future__ import annotations

from collections.abc import Callable

from heldard.sampler.model import Size

MAX_HEADER_BYTES = 1024

# The start-of-frame markers that carry a size; C4, C8 and CC mean other things.
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class BrokenStreamError(Exception):
    """What came is not the stream of parts that was agreed on."""


class PartReader:
    """Feed it bytes in any cuts; it calls `part(headers, body)` for each whole part, header names in lower case."""

    def __init__(self, part: Callable[[dict[str, str], bytes], None], max_body_bytes: int) -> None:
        self._part = part
        self._max_body = max_body_bytes
        self._buffer = bytearray()
        self._headers: dict[str, str] | None = None
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Raises BrokenStreamError when the parts' form or size is not kept; nothing after that can be read."""
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        if self._headers is None:
            return self._take_headers()
        if len(self._buffer) < self._length:
            return False
        body = bytes(memoryview(self._buffer)[: self._length])
        headers, self._headers = self._headers, None
        del self._buffer[: self._length]
        self._part(headers, body)
        return True

    def _take_headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise BrokenStreamError(f"no part begins within {MAX_HEADER_BYTES} bytes")
            return False
        headers = _headers(bytes(self._buffer[:end]))
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise BrokenStreamError("a part has no Content-Length")
        if int(length) > self._max_body:
            raise BrokenStreamError(f"a picture of {length} bytes is over the limit of {self._max_body}")
        del self._buffer[: end + 4]
        self._headers, self._length = headers, int(length)
        return True


def jpeg_size(jpeg: bytes) -> Size | None:
    """Width and height from the start-of-frame segment (ITU-T T.81, B.2.2), or None when this is no whole JPEG."""
    if jpeg[:2] != b"\xff\xd8" or jpeg[-2:] != b"\xff\xd9":
        return None
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker in _SOF:
            return Size(int.from_bytes(jpeg[at + 7 : at + 9]), int.from_bytes(jpeg[at + 5 : at + 7]))
        at += 1 if marker == 0xFF else 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return None


def _headers(text: bytes) -> dict[str, str]:
    lines = text.decode("ascii", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
