"""The camera registry over HTTP, on the real application and a real database file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from heldard import config
from heldard.app import build

JPEG_FREE = {"name": "Front gate", "sub_stream_url": "rtsp://admin:hunter2@127.0.0.1:9/sub"}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def client(data_dir: Path) -> AsyncIterator[TestClient[Any, Any]]:
    media = data_dir.parent / "media"
    media.mkdir(exist_ok=True)
    settings = config.settle(
        {"store": {"data_dir": str(data_dir)}, "sampler": {"enabled": False, "media_dir": str(media)}}
    )
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        yield client


async def test_a_camera_is_added_under_the_slug_of_its_name_and_never_shows_its_password(client: Any) -> None:
    answer = await client.post("/api/v1/cameras", json={**JPEG_FREE, "password": "hunter2", "username": "admin"})
    camera = await answer.json()
    assert answer.status == 201
    assert camera["id"] == "front_gate"
    assert camera["has_password"] is True
    assert camera["priority"] == 100
    assert "hunter2" not in await (await client.get("/api/v1/cameras/front_gate")).text()


async def test_secrets_are_sealed_in_the_file(client: Any, data_dir: Path) -> None:
    await client.post("/api/v1/cameras", json={**JPEG_FREE, "password": "hunter2"})
    rows = sqlite3.connect(data_dir / "heldard.db").execute("SELECT password, sub_stream_url FROM cameras").fetchall()
    assert all(value.startswith("enc:v1:") for value in rows[0])
    assert (data_dir / "secret.key").stat().st_mode & 0o777 == 0o600


async def test_a_second_camera_of_the_same_id_is_a_conflict(client: Any) -> None:
    await client.post("/api/v1/cameras", json=JPEG_FREE)
    answer = await client.post("/api/v1/cameras", json=JPEG_FREE)
    assert answer.status == 409
    assert (await answer.json())["code"] == "camera_exists"


async def test_x47_null_clears_and_absent_keeps(client: Any) -> None:
    await client.post("/api/v1/cameras", json={**JPEG_FREE, "model": "M1", "username": "u"})
    camera = await (await client.patch("/api/v1/cameras/front_gate", json={"model": None})).json()
    assert camera["model"] is None
    assert camera["username"] == "u"


@pytest.mark.parametrize(
    "fields",
    [
        {"sub_stream_url": "ftp://127.0.0.1/x"},
        {"sub_stream_url": "rtsp://127.0.0.1/a b"},
        {"sub_stream_url": "file:../../etc/passwd"},
        {"sub_stream_url": "file:/etc/passwd"},
        {"name": "   "},
        {"address": "10.0.0.1 -i evil"},
    ],
)
async def test_a_bad_value_is_refused_and_nothing_is_written(client: Any, fields: dict[str, str]) -> None:
    answer = await client.post("/api/v1/cameras", json={"name": "gate", **fields})
    assert answer.status == 400
    assert set(await answer.json()) >= {"error", "code"}
    assert await (await client.get("/api/v1/cameras")).json() == []


@pytest.mark.parametrize("body", [{}, {"name": 1}, {"name": "x", "rtsp_port": 1.5}, []])
async def test_a_body_of_another_shape_is_422(client: Any, body: Any) -> None:
    answer = await client.post("/api/v1/cameras", json=body)
    assert answer.status == 422
    assert (await answer.json())["code"] == "wrong_shape"


async def test_not_json_is_400_and_not_even_a_json_type_is_415(client: Any) -> None:
    answer = await client.post("/api/v1/cameras", data=b"{", headers={"content-type": "application/json"})
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_json")
    answer = await client.post("/api/v1/cameras", data=b"name=x")
    assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


async def test_unknown_cameras_are_404(client: Any) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/ai-tasks"), ("GET", "/detections")):
        answer = await client.request(method, f"/api/v1/cameras/nobody{path}", json={} if method == "PATCH" else None)
        assert answer.status == 404
        assert (await answer.json())["code"] == "camera_not_found"


async def test_deleting_a_camera_takes_its_tasks_and_detections(client: Any) -> None:
    await client.post("/api/v1/cameras", json=JPEG_FREE)
    await client.post("/api/v1/cameras/front_gate/ai-tasks", json={"task_type": "detection"})
    batch = {"camera_id": "front_gate", "task_type": "detection", "detections": [{"label": "car"}]}
    assert (await client.post("/api/v1/ai/events", json=batch)).status == 200
    assert (await client.delete("/api/v1/cameras/front_gate")).status == 204
    await client.post("/api/v1/cameras", json=JPEG_FREE)
    assert await (await client.get("/api/v1/cameras/front_gate/ai-tasks")).json() == []
    assert await (await client.get("/api/v1/cameras/front_gate/detections")).json() == []


async def test_the_registry_survives_a_restart(data_dir: Path) -> None:
    settings = config.settle({"store": {"data_dir": str(data_dir)}, "sampler": {"enabled": False}})
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        before = await (await client.post("/api/v1/cameras", json=JPEG_FREE)).json()
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        assert await (await client.get("/api/v1/cameras/front_gate")).json() == before
