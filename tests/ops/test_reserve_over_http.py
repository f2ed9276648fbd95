"""What a worker is told while the disk's reserve is reached, and that it can go on afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from heldard import keys
from heldard.app import build
from heldard.config import settle
from heldard.plugin import EventDraft


async def test_ingest_is_answered_507_with_a_time_while_events_and_settings_still_commit(tmp_path: Path) -> None:
    app = await build(settle({"store": {"data_dir": str(tmp_path)}, "sampler": {"enabled": False}}), found=())
    guard = app[keys.RETENTION].guard
    room = {"total": 10**12, "free": 0}
    guard._measure = lambda _: (room["total"], room["free"])
    async with TestClient(TestServer(app)) as client:
        await app[keys.RETENTION].look()
        async with client.post("/api/v1/cameras", json={"id": "gate", "name": "Gate"}) as answer:
            assert answer.status == 201
        batch = {"camera_id": "gate", "task_type": "t", "frame_id": "f"}
        async with client.post("/api/v1/ai/events", json=batch) as answer:
            assert answer.status == 507
            assert answer.headers["Retry-After"] == "30"
            assert (await answer.json())["code"] == "disk_reserve"
        kind = {"content-type": "application/x-ndjson"}
        async with client.post("/api/v1/ai/events", data=json.dumps(batch).encode(), headers=kind) as answer:
            assert json.loads((await answer.text()).splitlines()[0])["status"] == 507
        before = app[keys.EVENTS].last_seq
        now = app[keys.CLOCK].now_ms()
        assert await app[keys.EVENTS].emit(EventDraft("disk_recovered", now, "info", None, {})) > before
        room["free"] = 10**12
        await app[keys.RETENTION].look()
        async with client.post("/api/v1/ai/events", json=batch) as answer:
            assert (answer.status, "duplicate" in await answer.json()) == (200, False)
        async with client.get("/api/v1/events?limit=50") as answer:
            told = [event["event_type"] for event in await answer.json()]
    assert told.count("disk_reserve_reached") == 1
    assert told.count("disk_recovered") == 2
