"""Upstream's own worker, played from the wire contract, against the real routes: both profiles, refusals, retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from heldard.testing import Kernel, detection
from tests.leases.upstream_worker import UpstreamWorker

SEEN = [detection("car", at=(0.5, 0.8), track="1")]

Make = Callable[..., UpstreamWorker]


async def scene(kernel: Kernel) -> str:
    await kernel.add_camera("gate")
    return await kernel.add_task("gate", "detection")


def show(kernel: Kernel, camera_id: str = "gate") -> int:
    """A new frame; its capture time."""
    return kernel.hold_frame(camera_id, kernel.clock.now_ms()).captured_ms


async def ready(kernel: Kernel, made: UpstreamWorker) -> Any:
    """The runner of the only task."""
    assert len(await made.tick()) == 1, made.errors
    return next(iter(made.runners.values()))


async def test_profile_b_leases_pulls_and_posts_with_a_ticket(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "enforce"}}) as kernel:
        task_id = await scene(kernel)
        runner = await ready(kernel, worker(kernel))
        assert await runner.cycle(SEEN) == "no frame"
        captured_ms = show(kernel)
        answer = await runner.cycle(SEEN)
        assert (answer["detections_ingested"], answer["ticketed"]) == (1, True)
        assert await runner.cycle(SEEN) == "unchanged"
        stored = (await kernel.get("/api/v1/cameras/gate/detections"))[0]
        assert stored["frame_id"].endswith(f"{task_id}:{captured_ms}")
        assert stored["attributes"]["_prov"]["worker"] == "box:100"
        assert await kernel.events("ingest_unleased") == []


async def test_profile_a_without_leases_uses_discovery_and_plain_posts(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        made = worker(kernel)
        made.leases = False
        runner = await ready(kernel, made)
        show(kernel)
        answer = await runner.cycle(SEEN)
        assert (answer["detections_ingested"], answer["ticketed"]) == (1, False)


async def test_embeddings_are_absent_with_404_on_every_method(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        assert await worker(kernel).embed_poller() is False
        for method in ("GET", "POST", "PUT", "DELETE"):
            for path in ("embeddings", "embed-queries", "embed-queries/embq_1/result"):
                reply = await kernel.request(method, f"/api/v1/ai/{path}")
                assert (reply.status, reply.body["code"]) == (404, "no_such_path")


async def test_x33_a_lease_flap_does_not_store_one_frame_twice(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        made = worker(kernel)
        runner = await ready(kernel, made)
        show(kernel)
        with_ticket = await runner.cycle(SEEN)
        runner.last_captured = ""
        await kernel.request("DELETE", f"/api/v1/ai/leases/{made.lease_id}")
        without = await runner.cycle(SEEN)
        assert (with_ticket["ticketed"], without["ticketed"]) == (True, False)
        assert without["duplicate"] is True
        assert without["detections_ingested"] == 0
        assert len(await kernel.get("/api/v1/cameras/gate/detections")) == 1


async def test_t7_a_ticket_used_twice_is_a_duplicate(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        runner = await ready(kernel, worker(kernel))
        show(kernel)
        await runner.cycle(SEEN)
        runner.last_captured = ""
        assert (await runner.cycle(SEEN))["duplicate"] is True


async def test_a_ticket_outlives_the_daemon_so_a_batch_under_way_over_a_restart_is_taken(
    heldard_kernel: Any, worker: Make
) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "enforce"}}) as kernel:
        await scene(kernel)
        made = worker(kernel)
        runner = await ready(kernel, made)
        show(kernel)
        frame = await made.call("GET", runner.frame_url)
        await kernel.restart()
        taken = await kernel.post({
            "camera_id": "gate", "task_type": "detection", "detections": SEEN,
            "frame_ticket": frame.headers["x-frame-ticket"],
        })  # fmt: skip
        assert (taken.status, taken.body["ticketed"]) == (200, True)


async def test_a_lapsed_lease_is_a_401_that_names_it_and_the_worker_recovers(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "enforce"}}) as kernel:
        await scene(kernel)
        made = worker(kernel, lease_ttl=15)
        runner = await ready(kernel, made)
        frame = await made.call("GET", runner.frame_url) if show(kernel) else None
        assert frame is not None
        await kernel.advance(16)
        body = {"camera_id": "gate", "task_type": "detection", "frame_ticket": frame.headers["x-frame-ticket"]}
        refused = await kernel.post(body)
        assert (refused.status, refused.body["code"]) == (401, "lease_missing")
        show(kernel)
        assert await runner.cycle(SEEN) == 401  # no ticket any more: frame_ticket_required
        assert made.woken
        await made.tick()
        assert (await runner.cycle(SEEN))["ticketed"] is True


async def test_enforce_refuses_a_ticketless_batch_with_frame_ticket_required(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "enforce"}}) as kernel:
        await scene(kernel)
        for blank in ({}, {"frame_ticket": None}, {"frame_ticket": "  "}):
            reply = await kernel.post({"camera_id": "gate", "task_type": "detection", "detections": SEEN, **blank})
            assert reply.status == 401
            assert "frame_ticket_required" in reply.body["error"]


async def test_warn_notices_once_an_hour_and_credential_and_off_never(heldard_kernel: Any) -> None:
    post = {"camera_id": "gate", "task_type": "detection", "detections": SEEN, "frame_id": "mine-1"}
    async with heldard_kernel() as kernel:
        await scene(kernel)
        await kernel.post(post)
        await kernel.post({**post, "frame_id": "mine-2"})
        assert len(await kernel.events("ingest_unleased")) == 1
        await kernel.advance(3601)
        await kernel.post({**post, "frame_id": "mine-3"})
        notices = await kernel.events("ingest_unleased")
        assert [(event["severity"], event["camera_id"]) for event in notices] == [("warning", "gate")] * 2
        stored = await kernel.get("/api/v1/cameras/gate/detections")
        assert {row["frame_id"].removeprefix("w:") for row in stored} == {"mine-1", "mine-2", "mine-3"}


async def test_off_notices_nothing(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "off"}}) as kernel:
        await scene(kernel)
        assert (await kernel.post({"camera_id": "gate", "task_type": "detection", "detections": SEEN})).status == 200
        assert await kernel.events("ingest_unleased") == []


async def ticket_for(kernel: Kernel, made: UpstreamWorker) -> str:
    runner = await ready(kernel, made)
    show(kernel)
    return str((await made.call("GET", runner.frame_url)).headers["x-frame-ticket"])


async def new_key(kernel: Kernel, **fields: Any) -> str:
    reply = await kernel.request("POST", "/api/v1/api-keys", {"name": "worker", **fields})
    assert reply.status == 201, reply.body
    return str(reply.body["key"])


async def test_a_ticket_is_worth_nothing_to_another_credential(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        mine, other = await new_key(kernel), await new_key(kernel)
        ticket = await ticket_for(kernel, worker(kernel, api_key=mine))
        body = {"camera_id": "gate", "task_type": "detection", "frame_ticket": ticket, "detections": SEEN}
        reply = await kernel.request("POST", "/api/v1/ai/events", body, **{"X-API-Key": other})
        assert (reply.status, reply.body["code"]) == (401, "lease_missing")
        assert "lease" in reply.body["error"]


async def test_an_expired_ticket_is_refused(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel(settings={"ingest": {"frame_ticket_ttl_s": 10}}) as kernel:
        await scene(kernel)
        ticket = await ticket_for(kernel, worker(kernel))
        await kernel.advance(10)
        reply = await kernel.post({"camera_id": "gate", "task_type": "detection", "frame_ticket": ticket})
        assert (reply.status, reply.body["code"]) == (401, "frame_ticket_invalid")
        assert "frame_ticket" in reply.body["error"]


@pytest.mark.parametrize("field", ["camera_id", "task_type"])
async def test_a_body_that_contradicts_its_ticket_is_a_conflict(heldard_kernel: Any, worker: Make, field: str) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        ticket = await ticket_for(kernel, worker(kernel))
        body = {"camera_id": "gate", "task_type": "detection", "frame_ticket": ticket, "detections": SEEN}
        assert (await kernel.post({**body, field: "other"})).status == 409
        assert (await kernel.post({**body, field: ""})).status == 200


async def test_disabling_a_task_revokes_its_tickets_at_once(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        task_id = await scene(kernel)
        ticket = await ticket_for(kernel, worker(kernel))
        await kernel.request("PATCH", f"/api/v1/ai-tasks/{task_id}", {"enabled": False})
        reply = await kernel.post({"camera_id": "gate", "task_type": "detection", "frame_ticket": ticket})
        assert (reply.status, reply.body["code"]) == (403, "task_disabled")


async def test_x32_a_ticket_ends_with_the_lease_of_the_worker_it_was_made_for(
    heldard_kernel: Any, worker: Make
) -> None:
    async with heldard_kernel() as kernel:
        await scene(kernel)
        first, second = worker(kernel, "east:1"), worker(kernel, "west:1")
        ticket = await ticket_for(kernel, first)
        await kernel.request("DELETE", f"/api/v1/ai/leases/{first.lease_id}")
        assert len(await second.tick()) == 1
        reply = await kernel.post({"camera_id": "gate", "task_type": "detection", "frame_ticket": ticket})
        assert (reply.status, reply.body["code"]) == (401, "frame_ticket_invalid")


async def test_a_frame_without_a_lease_or_of_another_camera_has_no_ticket(heldard_kernel: Any, worker: Make) -> None:
    async with heldard_kernel() as kernel:
        task_id = await scene(kernel)
        await kernel.add_camera("yard")
        show(kernel)
        show(kernel, "yard")
        path = "/api/v1/cameras/{}/frame?profile=sub&task=" + task_id
        assert "x-frame-ticket" not in (await kernel.request("GET", path.format("gate"))).headers
        await worker(kernel).tick()
        assert "x-frame-ticket" in (await kernel.request("GET", path.format("gate"))).headers
        assert "x-frame-ticket" not in (await kernel.request("GET", path.format("yard"))).headers


async def test_no_other_401_makes_the_worker_lease_again(heldard_kernel: Any) -> None:
    """The worker looks for two words in the first 200 characters; even `please` would do."""
    async with heldard_kernel(settings={"auth": {"enabled": True}}) as kernel:
        for headers in ({}, {"X-API-Key": "vok_unknown"}, {"Authorization": "Bearer vos_unknown"}):
            reply = await kernel.request("POST", "/api/v1/ai/events", {"camera_id": "c", "task_type": "t"}, **headers)
            assert reply.status == 401
            text = str(reply.body)
            assert "lease" not in text
            assert "frame_ticket" not in text


async def test_a_batch_survives_a_server_that_is_busy_for_a_moment(worker: Make, aiohttp_server: Any) -> None:
    """The double retries as upstream does: 0.5, 1, 2, 4, 8 s, then the batch is lost. The figures are upstream's."""
    answers = iter([503, 503, 200])

    async def events(_request: web.Request) -> web.Response:
        status = next(answers)
        return web.json_response({"detections_ingested": 1} if status == 200 else {"error": "busy"}, status=status)

    async def frame(_request: web.Request) -> web.Response:
        return web.Response(body=b"x", content_type="image/jpeg", headers={"x-frame-captured-at": "1"})

    app = web.Application()
    app.router.add_post("/api/v1/ai/events", events)
    app.router.add_get("/frame", frame)
    server = await aiohttp_server(app)

    class At:
        url = str(server.make_url("")).rstrip("/")

    from tests.leases.upstream_worker import Runner

    made = worker(At)
    runner = Runner(made, {"id": "ai_1", "camera_id": "c", "task_type": "t", "frame_url": "/frame?profile=sub"})
    assert await runner.cycle(SEEN) == {"detections_ingested": 1}
    assert made.delays == [0.5, 1.0]
