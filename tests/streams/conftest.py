"""Servers for the tests of real streams. Under CI a missing server is a failure, not a skip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.streams.rig import RtspServer, rtsp_server_problem

PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)


@pytest.fixture(scope="session")
def rtsp_possible() -> None:
    problem = rtsp_server_problem()
    if problem is None:
        return
    message = f"the RTSP server of these tests cannot run ({problem}): install {PACKAGES}"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def rtsp(rtsp_possible: None) -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP servers; all are killed at the end of the test."""
    servers: list[RtspServer] = []

    def start(**options: Any) -> RtspServer:
        servers.append(RtspServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.thaw()
        server.kill()
