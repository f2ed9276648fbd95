"""`/api/v1/system/db`: the cap on the database, set while heldard runs."""

from __future__ import annotations

from typing import Any

import pytest

PATH = "/api/v1/system/db"
GIB = 1024**3


async def test_a_cap_set_while_it_runs_stands_before_the_configured_one_over_restarts(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"retention": {"max_db_mb": 512}}) as kernel:
        found = await kernel.get(PATH)
        assert (found["max_db_gb"], found["max_db_bytes"], found["max_overridden"]) == (0.5, GIB // 2, False)
        changed = await kernel.request("PUT", PATH, {"max_db_gb": 1.5})
        assert changed.status == 200
        assert (changed.body["max_db_gb"], changed.body["max_overridden"]) == (1.5, True)
        await kernel.restart()
        assert (await kernel.get(PATH))["max_db_bytes"] == GIB * 3 // 2
        back = await kernel.request("PUT", PATH, {"max_db_gb": None})
        assert (back.body["max_db_gb"], back.body["max_overridden"]) == (0.5, False)
        await kernel.restart()
        assert (await kernel.get(PATH))["max_overridden"] is False


@pytest.mark.parametrize("cap", [0, -1, 0.0078, 1e9, "2", [2]])
async def test_a_cap_that_means_nothing_changes_nothing(heldard_kernel: Any, cap: Any) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.request("PUT", PATH, {"max_db_gb": cap})
        assert reply.status in (400, 422)
        assert (await kernel.request("PUT", PATH, {})).status == 422
        assert (await kernel.get(PATH))["max_db_gb"] == 4.0


async def test_what_has_no_room_under_a_new_cap_is_shed_cheapest_first(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera("gate")
        task_id = await kernel.add_task("gate")
        found = [
            {"label": "x" * 80, "bbox": [0.1, 0.1, 0.2, 0.2], "attributes": {"pad": "p" * 4000}} for _ in range(50)
        ]
        while (await kernel.get(PATH))["used_bytes"] < 9 * 2**20:
            frame_id = f"{task_id}:{kernel.clock.now_ms()}"
            await kernel.post(
                {"camera_id": "gate", "task_type": "detection", "frame_id": frame_id, "detections": found}
            )
            await kernel.advance(0.1)
        events = await kernel.events()
        assert (await kernel.request("PUT", PATH, {"max_db_gb": 8 / 1024})).status == 200
        await kernel.advance(15)
        assert (await kernel.get(PATH))["used_bytes"] <= 8 * 2**20
        shed = await kernel.events("retention_shed")
        assert shed
        assert shed[0]["payload"]["batches"] > 0
        assert [event["id"] for event in await kernel.events()][: len(events)] == [event["id"] for event in events]
