"""AI tasks over HTTP, on the real application and a real database file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from heldard import config
from heldard.app import build

TASKS = "/api/v1/cameras/gate/ai-tasks"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    settings = config.settle({"store": {"data_dir": str(tmp_path)}, "sampler": {"enabled": False}})
    async with TestClient(TestServer(await build(settings, found=[]))) as client:
        await client.post("/api/v1/cameras", json={"name": "gate", "sub_stream_url": "rtsp://127.0.0.1:9/x"})
        yield client


async def test_a_task_has_defaults_and_is_what_workers_see(client: Any) -> None:
    answer = await client.post(TASKS, json={"task_type": "detection"})
    task = await answer.json()
    assert answer.status == 201
    assert (task["stream_profile"], task["fps"], task["width"], task["config"]) == ("sub", 5.0, 1280, {})
    seen = await (await client.get("/api/v1/ai/tasks")).json()
    assert [one["id"] for one in seen] == [task["id"]]
    assert seen[0]["frame_url"] == f"/api/v1/cameras/gate/frame?profile=sub&task={task['id']}"


async def test_create_ai_task_is_idempotent_per_slot(client: Any) -> None:
    first = await (await client.post(TASKS, json={"task_type": "anpr", "fps": 2})).json()
    again = await client.post(TASKS, json={"task_type": "anpr", "fps": 9})
    assert (again.status, await again.json()) == (200, first)
    other = await client.post(TASKS, json={"task_type": "anpr", "stream_profile": "main"})
    assert other.status == 201


async def test_x46_patching_into_a_taken_slot_is_a_conflict(client: Any) -> None:
    await client.post(TASKS, json={"task_type": "anpr"})
    task = await (await client.post(TASKS, json={"task_type": "detection"})).json()
    answer = await client.patch(f"/api/v1/ai-tasks/{task['id']}", json={"task_type": "anpr"})
    assert (answer.status, (await answer.json())["code"]) == (409, "task_exists")


@pytest.mark.parametrize(
    ("asked", "kept"),
    [({"fps": 0.001}, ("fps", 0.1)), ({"fps": 99}, ("fps", 30.0)), ({"width": 1}, ("width", 160)),
     ({"width": 99999}, ("width", 3840))],
)  # fmt: skip
async def test_fps_and_width_are_clamped(client: Any, asked: dict[str, Any], kept: tuple[str, Any]) -> None:
    task = await (await client.post(TASKS, json={"task_type": "x", **asked})).json()
    assert task[kept[0]] == kept[1]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"task_type": " "}, 400), ({"task_type": "x", "stream_profile": "Sub"}, 400), ({}, 422),
     ({"task_type": "x", "width": 640.5}, 422), ({"task_type": "x", "fps": "5"}, 422)],
)  # fmt: skip
async def test_bad_tasks_are_refused(client: Any, body: dict[str, Any], status: int) -> None:
    assert (await client.post(TASKS, json=body)).status == status
    assert await (await client.get(TASKS)).json() == []


async def test_disabled_tasks_and_cameras_are_not_worked_on(client: Any) -> None:
    task = await (await client.post(TASKS, json={"task_type": "detection"})).json()
    await client.patch(f"/api/v1/ai-tasks/{task['id']}", json={"enabled": False})
    assert await (await client.get("/api/v1/ai/tasks")).json() == []
    assert len(await (await client.get(TASKS)).json()) == 1
    await client.patch(f"/api/v1/ai-tasks/{task['id']}", json={"enabled": True})
    await client.patch("/api/v1/cameras/gate", json={"enabled": False})
    assert await (await client.get("/api/v1/ai/tasks")).json() == []


async def test_unknown_tasks_are_404(client: Any) -> None:
    assert (await client.patch("/api/v1/ai-tasks/ai_x", json={})).status == 404
    assert (await client.delete("/api/v1/ai-tasks/ai_x")).status == 404
