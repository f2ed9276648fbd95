"""Finding pictures in a byte stream."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from heldard.sampler.model import Size
from heldard.sampler.multipart import MAX_HEADER_BYTES, BrokenStreamError, PartReader, jpeg_size


def part(body: bytes, extra: str = "") -> bytes:
    return (
        f"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: {len(body)}\r\n{extra}\r\n".encode() + body + b"\r\n"
    )


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_parts_come_out_as_they_went_in_however_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(part, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    out: list[bytes] = []
    reader = PartReader(lambda _, body: out.append(body), 1000)
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[begin:end])
    assert out == bodies


@given(st.binary(max_size=4000))
def test_any_other_bytes_are_refused_or_awaited_but_never_more_is_kept_than_the_limits_say(noise: bytes) -> None:
    reader = PartReader(lambda _, __: None, 1000)
    try:
        reader.feed(noise)
    except BrokenStreamError:
        return
    assert len(reader._buffer) <= 1000 + MAX_HEADER_BYTES + len(b"\r\n\r\n")


def test_a_part_over_the_limit_ends_the_stream_before_it_is_read() -> None:
    with pytest.raises(BrokenStreamError, match="1001 bytes is over the limit of 1000"):
        PartReader(lambda _, __: None, 1000).feed(part(b"x" * 1001)[:80])


def test_a_part_without_a_length_ends_the_stream() -> None:
    with pytest.raises(BrokenStreamError, match="Content-Length"):
        PartReader(lambda _, __: None, 1000).feed(b"--ffmpeg\r\nContent-type: image/jpeg\r\n\r\n")


def test_additional_headers_are_given_along() -> None:
    seen: list[dict[str, str]] = []
    PartReader(lambda headers, _: seen.append(headers), 1000).feed(part(b"x", "X-Captured-Ms: 17\r\n"))
    assert seen[0]["x-captured-ms"] == "17"


@pytest.mark.parametrize("progressive", [False, True])
@given(width=st.integers(1, 200), height=st.integers(1, 200))
def test_the_size_read_from_a_jpeg_is_the_picture_s(progressive: bool, width: int, height: int) -> None:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "JPEG", progressive=progressive)
    assert jpeg_size(out.getvalue()) == Size(width, height)


@given(st.binary(max_size=200))
def test_what_is_no_whole_jpeg_has_no_size_and_never_raises(noise: bytes) -> None:
    assert jpeg_size(noise) is None or noise[:2] == b"\xff\xd8"
    assert jpeg_size(b"\xff\xd8" + noise) is None or noise[-2:] == b"\xff\xd9"
    jpeg_size(b"\xff\xd8" + noise + b"\xff\xd9")
