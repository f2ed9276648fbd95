"""Stream addresses, and texts without their passwords."""

from __future__ import annotations

from typing import Any

import pytest

from heldard.cameras.model import Camera
from heldard.cameras.urls import mask, stream_url


def camera(**fields: Any) -> Camera:
    return Camera(**{"id": "c", "name": "c", "created_ms": 0, "updated_ms": 0, **fields})


def test_a_given_address_wins_over_the_vendor() -> None:
    found = camera(vendor="hikvision", address="10.0.0.9", sub_stream_url="rtsp://other/x")
    assert stream_url(found, "sub") == "rtsp://other/x"


@pytest.mark.parametrize(
    ("vendor", "profile", "path"),
    [
        ("hikvision", "main", "/Streaming/Channels/101"),
        ("hikvision", "sub", "/Streaming/Channels/102"),
        ("dahua", "main", "/cam/realmonitor?channel=1&subtype=0"),
        ("dahua", "sub", "/cam/realmonitor?channel=1&subtype=1"),
    ],
)
def test_a_known_vendor_has_known_paths(vendor: str, profile: Any, path: str) -> None:
    found = camera(vendor=vendor, address="10.0.0.9", username="ad:min", password="p@ss/w")
    assert stream_url(found, profile) == f"rtsp://ad%3Amin:p%40ss%2Fw@10.0.0.9:554{path}"


def test_s11_a_profile_without_an_address_uses_the_recorded_stream() -> None:
    assert stream_url(camera(main_stream_url="rtsp://x/main"), "sub") == "rtsp://x/main"
    assert stream_url(camera(), "sub") is None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://u:p@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@ss@h/x", "rtsp://***@h/x"),
        ("a rtsp://u@h and http://v:w@i/y?z=1@2", "a rtsp://***@h and http://***@i/y?z=1@2"),
        ("rtsp://h/x@y", "rtsp://h/x@y"),
    ],
)
def test_masking_replaces_the_user_of_every_url(text: str, masked: str) -> None:
    assert mask(text) == masked
