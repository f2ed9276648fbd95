"""Hostile values: paths that climb, headers that split, addresses that are commands, pictures that lie."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from heldard.api.endpoint import Endpoint
from heldard.app import ROUTES

CLIMBS = ["../secret.key", "..%2fsecret.key", "%2e%2e/secret.key", "....//secret.key", "/etc/passwd",
          "a/../../secret.key", "..\\secret.key", "%00", "snapshots%00.jpg",
          "gate-sub-1.jpg%2f..%2f..%2fsecret.key"]  # fmt: skip


@pytest.mark.parametrize("name", CLIMBS)
async def test_no_name_of_a_picture_leaves_its_folder(heldard_kernel: Any, name: str) -> None:
    async with heldard_kernel() as kernel:
        key = (kernel.data_dir / "secret.key").read_bytes()
        for path in (f"/media/snapshots/{name}", f"/media/{name}", f"/api/v1/cameras/{name}/frame"):
            reply = await kernel.request("GET", path)
            assert reply.status in (400, 403, 404), (path, reply.status)
            assert key not in (reply.body if isinstance(reply.body, bytes) else b"")


SPLIT = "x\r\nX-Evil: 1\r\n\r\n<script>"


async def test_no_parameter_splits_a_header(heldard_kernel: Any) -> None:
    """Every route with every parameter carrying line breaks: none comes back as a header, none is a 500."""
    async with heldard_kernel("zones") as kernel:
        await kernel.add_camera("gate")
        kernel.hold_frame("gate", kernel.clock.now_ms())
        for endpoint in kernel.app[ROUTES]:
            for path in hostile_paths(endpoint):
                reply = await kernel.request(endpoint.method, path, {} if endpoint.body is not None else None)
                assert "X-Evil" not in reply.headers, path
                assert reply.status != 500, (endpoint.method, path)


def hostile_paths(endpoint: Endpoint) -> list[str]:
    import msgspec

    if endpoint.path.endswith("/stream"):
        return []
    bad = quote(SPLIT, safe="")
    path = endpoint.path
    for name in endpoint.path_names:
        path = path.replace(f"{{{name}}}", "gate" if name == "camera_id" else bad)
    names = [] if endpoint.query is None else [field.encode_name for field in msgspec.structs.fields(endpoint.query)]
    return [path, *(f"{path}?{name}={bad}" for name in names)]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "concat:/etc/passwd|/etc/shadow", "subfile,,start,0,end,9,,:/etc/passwd", "-i /etc/passwd",
     "rtsp://h/\nfile:///etc/passwd", "data:text/plain,x", "pipe:0", "http://h/ -f null", "tcp://127.0.0.1:22",
     "RTSP://h/\x00", "gopher://h/", "file:../../etc/passwd"],
)  # fmt: skip
async def test_hostile_camera_addresses_never_reach_a_decoder(heldard_kernel: Any, url: str) -> None:
    async with heldard_kernel() as kernel:
        for field in ("main_stream_url", "sub_stream_url"):
            reply = await kernel.request("POST", "/api/v1/cameras", {"name": "x", field: url})
            assert reply.status in (400, 422), (url, reply.body)
        await kernel.add_camera("gate")
        reply = await kernel.request("PATCH", "/api/v1/cameras/gate", {"sub_stream_url": url})
        assert reply.status in (400, 422), (url, reply.body)


@pytest.mark.parametrize(
    "raw",
    [b"[" * 200_000, b'{"a":' * 50_000, b'{"name": "\xff\xfe"}', b'{"name": 1e999}', b"\x00" * 1000,
     b'{"name": "\\ud800"}', b'{"name": "a", "name": "b"}' + b" " * 1_000_000, b""],
)  # fmt: skip
async def test_hostile_json_is_refused_and_nothing_breaks(heldard_kernel: Any, raw: bytes) -> None:
    async with heldard_kernel() as kernel:
        assert kernel._client is not None
        for path in ("/api/v1/cameras", "/api/v1/ai/events", "/api/v1/auth/login"):
            headers = {"Content-Type": "application/json"}
            async with kernel._client.post(path, data=raw, headers=headers) as response:
                assert response.status in (201, 400, 413, 422), (path, response.status)
                if response.status >= 400:
                    assert set(await response.json()) <= {"error", "code", "details"}
