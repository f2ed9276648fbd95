"""Which addresses a camera may have, and what people see of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldard.errors import InvalidError
from heldard.sampler.settings import SamplerSettings
from heldard.sampler.source import check_source, mask, resolve


@pytest.fixture
def media(tmp_path: Path) -> SamplerSettings:
    folder = tmp_path / "media"
    (folder / "yard").mkdir(parents=True)
    (folder / "clip.mp4").touch()
    (folder / "yard" / "a b.mp4").touch()
    (tmp_path / "secret.mp4").touch()
    (folder / "way-out.mp4").symlink_to(tmp_path / "secret.mp4")
    return SamplerSettings(media_dir=str(folder))


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://10.0.0.2/stream1",
        "rtsps://u:p%40@cam.local:322/x?y=1",
        "http://cam/mjpg",
        "https://[fd00::1]:8443/a",
        "RTSP://cam/",
    ],
)
def test_camera_addresses_are_allowed(url: str) -> None:
    check_source(url, SamplerSettings())


@pytest.mark.parametrize(
    "url",
    [
        "", "cam/stream",
        "ftp://cam/x", "gopher://cam", "concat:a|b", "pipe:0", "data:video/mp4;base64,AA", "/etc/passwd",
        "rtsp:/cam", "rtsp://", "rtsp:///path", "rtsp://cam:99999/", "rtsp://cam/a b", "rtsp://cam/\n", "http://[::1/",
        "rtsp://cam/" + "x" * 2048, "subfile,,start,0,end,9,,:/etc/passwd", "tee:x", "-i",
    ],
)  # fmt: skip
def test_other_schemes_and_broken_addresses_are_refused(url: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check_source(url, SamplerSettings())
    assert refused.value.code == "bad_source"


def test_files_below_the_folder_are_found_by_name_and_by_full_path(media: SamplerSettings) -> None:
    folder = media.media_dir
    for url in ("file:clip.mp4", f"file://{folder}/clip.mp4", f"file:{folder}/clip.mp4", "file:yard/../clip.mp4"):
        assert resolve(url, media).url == f"{folder}/clip.mp4"
    assert resolve("file:yard/a%20b.mp4", media).url == f"{folder}/yard/a b.mp4"
    assert resolve("file:clip.mp4", media).loop
    assert not resolve("file:clip.mp4?loop=0", media).loop


@pytest.mark.parametrize(
    "url",
    [
        "file:../secret.mp4", "file:///etc/passwd", "file:/etc/passwd", "file:yard/../../secret.mp4",
        "file:way-out.mp4",
        "file:%2e%2e/secret.mp4", "file://host/clip.mp4", "file:", "file:.", "file:clip.mp4?loop=2",
        "file:clip.mp4?x=1",
        "file:clip.mp4%00.mp4",
    ],
)  # fmt: skip
def test_files_elsewhere_are_refused_links_and_encodings_included(media: SamplerSettings, url: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check_source(url, media)
    assert refused.value.code == "bad_source"
    assert "secret" not in refused.value.message


def test_without_a_folder_there_are_no_file_sources() -> None:
    with pytest.raises(InvalidError, match=r"sampler\.media_dir"):
        check_source("file:clip.mp4", SamplerSettings())


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_no_text_whatever_leads_out_of_the_folder_or_raises_anything_else(text: str) -> None:
    settings = SamplerSettings(media_dir="/srv/media")
    for url in (text, f"file:{text}", f"rtsp://{text}"):
        try:
            source = resolve(url, settings)
        except InvalidError:
            continue
        assert not source.is_file or Path(source.url).is_relative_to("/srv/media")


words = st.text(alphabet="abcXYZ019-_.~!$*+:/@%", min_size=3, max_size=12).map(lambda text: f"Q{text}Q")


@given(words, words)
def test_names_and_passwords_never_show(user: str, password: str) -> None:
    shown = mask(f"opening rtsp://{quote(user)}:{password}@10.0.0.9:554/s?token={quote(password)}&x=1 failed")
    assert password not in shown
    assert quote(user) not in shown
    assert "10.0.0.9:554/s?token=***&x=1 failed" in shown


def test_text_without_credentials_is_shown_as_it_is() -> None:
    text = "rtsp://10.0.0.9/s: Connection refused"
    assert mask(text) == text
