"""Leases over HTTP: who gets what, when it changes hands, and that nobody waits a minute."""

from __future__ import annotations

from typing import Any

from heldard.testing import Kernel


async def tasks(kernel: Kernel, count: int, **fields: Any) -> list[str]:
    for n in range(count):
        await kernel.add_camera(f"c{n}")
    return sorted([await kernel.add_task(f"c{n}", **fields) for n in range(count)])


async def lease(kernel: Kernel, worker_id: str, **fields: Any) -> Any:
    key = fields.pop("key", None)
    headers = {} if key is None else {"X-API-Key": key}
    reply = await kernel.request("POST", "/api/v1/ai/leases", {"worker_id": worker_id, **fields}, **headers)
    assert reply.status == 200, reply.body
    return reply.body


def held(answer: Any) -> list[str]:
    return [task["id"] for task in answer["tasks"]]


async def new_key(kernel: Kernel, **fields: Any) -> str:
    reply = await kernel.request("POST", "/api/v1/api-keys", {"name": "worker", **fields})
    assert reply.status == 201, reply.body
    return str(reply.body["key"])


async def test_l1_candidates_are_enabled_tasks_of_enabled_cameras_in_scope_by_id(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 4)
        cameras = {task["id"]: task["camera_id"] for task in await kernel.get("/api/v1/ai/tasks")}
        await kernel.request("PATCH", f"/api/v1/ai-tasks/{ids[0]}", {"enabled": False})
        await kernel.request("PATCH", f"/api/v1/cameras/{cameras[ids[1]]}", {"enabled": False})
        scoped = await new_key(kernel, capabilities=["ai:tasks"], scope_cameras=[cameras[ids[2]]])
        empty = await new_key(kernel, capabilities=["ai:tasks"], scope_kind="cameras", scope_cameras=[])
        assert held(await lease(kernel, "a", key=scoped)) == [ids[2]]
        assert held(await lease(kernel, "a", key=empty)) == []
        assert held(await lease(kernel, "b")) == [ids[3]]


async def test_l2_shards_then_types_then_the_budget(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 3)
        plates = await kernel.add_task("c0", "anpr")
        assert held(await lease(kernel, "a", task_types=["ANPR"])) == [plates]
        assert len(held(await lease(kernel, "b", max_tasks=1))) == 1
        assert len(held(await lease(kernel, "c"))) == 2
        assert set(ids) | {plates} == {row["task_id"] for row in await kernel.get("/api/v1/ai/leases")}


async def test_l3_a_task_is_leased_to_exactly_one_holder_until_it_lapses(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        other = await new_key(kernel)
        assert held(await lease(kernel, "a", ttl_secs=15)) == ids
        assert held(await lease(kernel, "b", key=other)) == []
        await kernel.advance(10)
        assert held(await lease(kernel, "a", ttl_secs=15)) == ids
        await kernel.advance(14)
        assert held(await lease(kernel, "b", key=other)) == []
        await kernel.advance(2)
        assert held(await lease(kernel, "b", key=other)) == ids


async def test_l4_every_call_makes_a_new_lease_id_and_acquisition_survives(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 1)
        first = await lease(kernel, "a")
        before = (await kernel.get("/api/v1/ai/leases"))[0]
        await kernel.advance(5)
        second = await lease(kernel, "a")
        after = (await kernel.get("/api/v1/ai/leases"))[0]
        assert first["lease_id"] != second["lease_id"]
        assert before["acquired_at"] == after["acquired_at"]
        assert first["expires_at"] == "2026-01-01T12:01:00+00:00"
        stale = await kernel.request("DELETE", f"/api/v1/ai/leases/{first['lease_id']}")
        assert (stale.status, stale.body) == (200, {"released": 0})


async def test_l6_a_narrowed_credential_cannot_renew_its_lease_on_the_lost_camera(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 2)
        key = await new_key(kernel, capabilities=["ai:tasks"], scope_cameras=["c0", "c1"])
        assert len(held(await lease(kernel, "a", key=key))) == 2
        key_id = (await kernel.get("/api/v1/api-keys"))[0]["id"]
        narrowed = await kernel.request("PATCH", f"/api/v1/api-keys/{key_id}", {"scope_cameras": ["c0"]})
        assert narrowed.status == 200
        assert [task["camera_id"] for task in (await lease(kernel, "a", key=key))["tasks"]] == ["c0"]


async def test_x30_leasing_registers_the_worker_and_a_second_one_gets_its_half(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 6)
        assert held(await lease(kernel, "a")) == ids
        assert held(await lease(kernel, "b")) == []  # nothing is taken from under a holder
        await kernel.advance(5)
        kept = held(await lease(kernel, "a"))
        given = held(await lease(kernel, "b"))
        assert (len(kept), len(given)) == (3, 3)
        assert set(kept) | set(given) == set(ids)
        assert held(await lease(kernel, "a")) == kept  # and it stays so


async def test_x30_task_discovery_and_leases_share_with_each_other(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 4)
        await lease(kernel, "a")
        assert len(await kernel.get("/api/v1/ai/tasks?worker_id=plain")) == 2
        assert len(held(await lease(kernel, "a"))) == 2
        assert len(await kernel.get("/api/v1/ai/tasks")) == 4


async def test_ten_tasks_over_three_plain_workers(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 10)
        for name in "abcabc":
            await kernel.get(f"/api/v1/ai/tasks?worker_id={name}")
        shares = [{t["id"] for t in await kernel.get(f"/api/v1/ai/tasks?worker_id={name}")} for name in "abc"]
        assert sorted(len(share) for share in shares) == [3, 3, 4]
        assert set().union(*shares) == set(ids)
        await kernel.advance(61)
        assert len(await kernel.get("/api/v1/ai/tasks?worker_id=ghost")) == 10


async def pull(kernel: Kernel, task: Any) -> None:
    kernel.hold_frame(task["camera_id"], kernel.clock.now_ms())
    await kernel.request("GET", task["frame_url"])


async def test_x31_a_restarted_worker_with_another_process_id_does_not_idle_for_a_minute(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        old = await lease(kernel, "box:100")
        for _ in range(10):
            await kernel.advance(0.2)
            for task in old["tasks"]:
                await pull(kernel, task)
        await kernel.advance(1)  # killed, and started again at once
        assert held(await lease(kernel, "box:200")) == []
        await kernel.advance(6)
        assert held(await lease(kernel, "box:200")) == ids


async def test_x31_a_neighbour_that_works_is_not_taken_for_dead(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 2)
        old = await lease(kernel, "box:100")
        for _ in range(50):
            await kernel.advance(1)
            for task in old["tasks"]:
                await pull(kernel, task)
            assert held(await lease(kernel, "box:200")) == []


async def test_x31_a_holder_still_loading_its_model_is_given_time(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 2)
        await lease(kernel, "box:100")
        await kernel.advance(10)
        assert held(await lease(kernel, "box:200")) == []


async def test_x31_a_silent_holder_on_another_host_is_taken_over_before_its_lease_lapses(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        await lease(kernel, "east:100")
        await kernel.advance(10)
        assert held(await lease(kernel, "west:100")) == []
        await kernel.advance(11)
        assert held(await lease(kernel, "west:100")) == ids
        await kernel.advance(1)  # it was alive after all: it gets a share back when both have renewed
        assert held(await lease(kernel, "east:100")) == []
        assert len(held(await lease(kernel, "west:100"))) == 1
        assert len(held(await lease(kernel, "east:100"))) == 1


async def test_leases_outlive_the_daemon(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        await lease(kernel, "a")
        await kernel.restart()
        other = await new_key(kernel)
        assert held(await lease(kernel, "b", key=other)) == []
        assert held(await lease(kernel, "a")) == ids


async def test_release_is_scoped_to_the_holder_and_frees_the_tasks(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        mine = await lease(kernel, "a")
        other = await new_key(kernel)
        path = f"/api/v1/ai/leases/{mine['lease_id']}"
        assert (await kernel.request("DELETE", path, None, **{"X-API-Key": other})).body == {"released": 0}
        assert (await kernel.request("DELETE", path)).body == {"released": 2}
        assert held(await lease(kernel, "b", key=other)) == ids


async def test_a_deleted_task_leaves_its_lease(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        ids = await tasks(kernel, 2)
        await lease(kernel, "a")
        await kernel.request("DELETE", f"/api/v1/ai-tasks/{ids[0]}")
        assert [row["task_id"] for row in await kernel.get("/api/v1/ai/leases")] == [ids[1]]
        assert held(await lease(kernel, "a")) == [ids[1]]
        assert len(await kernel.rows("SELECT * FROM ai_task_leases")) == 1


async def test_values_out_of_range_are_clamped_and_a_blank_worker_is_refused(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await tasks(kernel, 2)
        short = await lease(kernel, "a", ttl_secs=1, max_tasks=-5)
        assert (short["expires_at"], len(short["tasks"])) == ("2026-01-01T12:00:15+00:00", 1)
        long = await lease(kernel, "a", ttl_secs=10**9, max_tasks=10**9)
        assert (long["expires_at"], len(long["tasks"])) == ("2026-01-01T12:05:00+00:00", 2)
        blank = await kernel.request("POST", "/api/v1/ai/leases", {"worker_id": "  "})
        assert blank.status == 400


async def test_a_worker_id_belongs_to_one_credential_under_enforce(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"auth": {"machine": "enforce"}}) as kernel:
        await tasks(kernel, 1)
        one, two = await new_key(kernel), await new_key(kernel)
        await lease(kernel, "a", key=one)
        for method, path in (("POST", "/api/v1/ai/leases"), ("GET", "/api/v1/ai/tasks?worker_id=a")):
            body = {"worker_id": "a"} if method == "POST" else None
            assert (await kernel.request(method, path, body, **{"X-API-Key": two})).status == 409
    async with heldard_kernel() as kernel:
        await lease(kernel, "a", key=two)
