"""The gate in the real kernel: openings, crashes, and what is told of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heldard import keys
from heldard.testing import Kernel, Scene

from .daemon import PLATE, Make, call, car, gated, set_up_gate, the_event


async def test_p38_p40_a_listed_car_opens_the_gate_and_it_is_told(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel, pulse_ms=500)
        await kernel.play(car())
        event = await the_event(kernel)
        assert stub.calls[0] == ("/on/3", f'{{"event": "{event["id"]}"}}', None)
        await kernel.advance(1)
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3"]
        (told,) = await kernel.events("gate_opened")
        assert told["severity"] == "info"
        assert told["payload"]["reference"] == event["id"]
        assert told["payload"]["port"] == 3
        assert told["payload"]["pulse_ms"] == 500
        (opening,) = (await call(kernel, "GET", f"/entry-events/{event['id']}/decision"))["openings"]
        assert opening["state"] == "opened"


async def test_p39_switching_off_is_tried_once_more(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [204, 500, 204]
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        await kernel.advance(1.1)
        await asyncio.sleep(0.1)
        await kernel.settle()
        await kernel.advance(0.3)
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3", "/off/3"]
        assert len(await kernel.events("gate_opened")) == 1


async def test_p39_an_output_that_stays_on_is_told_as_that(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [204, 500, 500]
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        for _ in range(3):
            await kernel.advance(1.1)
            await asyncio.sleep(0.1)
            await kernel.settle()
        (told,) = await kernel.events("gate_open_failed")
        assert "switched on and could not be switched off again" in told["payload"]["error"]


async def test_a_crash_while_the_output_is_on_switches_it_off_at_the_next_start(
    heldard_kernel: Make, relay: Any
) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel, pulse_ms=20_000)
        await kernel.play(car())
        await asyncio.sleep(0.1)
        await kernel.settle()
        assert [path for path, _, _ in stub.calls] == ["/on/3"]
        await kernel.crash()
        await kernel.start()
        assert [path for path, _, _ in stub.calls] == ["/on/3", "/off/3"]
        (told,) = await kernel.events("gate_open_failed")
        assert told["payload"]["state"] == "unknown"
        assert "its output was switched off" in told["payload"]["error"]
        await kernel.advance(300)
        assert stub.opened == 1


async def test_p40_a_relay_that_fails_is_told_and_not_tried_again(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    stub.fails = [503] * 9
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        await asyncio.sleep(0.1)
        await kernel.advance(60)
        (told,) = await kernel.events("gate_open_failed")
        assert told["severity"] == "warning"
        assert "HTTP 503" in told["payload"]["error"]
        assert stub.opened == 1


async def test_p41_opening_by_hand(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url, actuator={"off": None})) as kernel:
        await kernel.add_camera("gate")
        refused = await call(kernel, "POST", "/entry/gate/open/gate", status=400)
        assert refused["code"] == "no_policy"
        await set_up_gate(kernel, enabled=False)
        assert await call(kernel, "POST", "/entry/gate/open/gate") == {"ok": True, "pulse_ms": 1000}
        assert stub.opened == 1
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": True})
        assert (await call(kernel, "POST", "/entry/gate/open/gate", status=400))["code"] == "kill_switch"
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": False})
        stub.fails = [500]
        assert (await call(kernel, "POST", "/entry/gate/open/gate", status=400))["code"] == "gate_device"
        assert [row["state"] for row in await call(kernel, "GET", "/anpr/openings/gate")] == ["failed", "opened"]


async def test_the_secret_header_is_read_from_its_file_and_never_shown(
    heldard_kernel: Make, relay: Any, tmp_path: Any
) -> None:
    stub, url = relay
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    actuator = {"off": None, "secret_header": "X-Secret", "secret_file": str(secret)}
    async with heldard_kernel("anpr", settings=gated(url, actuator=actuator)) as kernel:
        await set_up_gate(kernel)
        await call(kernel, "POST", "/entry/gate/open/gate")
        assert stub.calls[0][2] == "open sesame"
        assert "sesame" not in str(await call(kernel, "GET", "/entry/gate"))


async def test_a_stale_opening_is_not_carried_out(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        member = kernel.app[keys.FANOUT].member("anpr")
        await member.hold("the test holds it")
        await kernel.play(car())
        await kernel.advance(60)
        await member.resume()
        await kernel.drain()
        await kernel.advance(300)
        event = await the_event(kernel)
        assert event["audit"]["evidence"]["actuated"] is True, "it was asked for"
        assert stub.calls == []
        (told,) = await kernel.events("gate_open_failed")
        assert told["payload"]["state"] == "unknown"


async def test_the_kill_switch_holds_at_the_moment_of_opening(heldard_kernel: Make, relay: Any) -> None:
    stub, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        gate = kernel.plugin("anpr").ask("heldard_register_actions", ctx=kernel.context("anpr"))[0]
        await call(kernel, "PUT", "/entry/gate/settings", {"kill_switch": True})
        payload = {"key": "open:x", "camera_id": "gate", "event_id": "x", "plate": PLATE, "port": 1, "pulse_ms": 100,
                   "mode": "auto"}  # fmt: skip
        assert await gate.run(payload) == {"state": "refused", "reason": "kill_switch"}
        assert stub.calls == []


async def test_a_crash_at_any_write_of_a_visit_makes_one_event_and_at_most_one_opening(
    tmp_path: Any, relay: Any
) -> None:
    stub, url = relay
    opened: list[int] = []
    point = 0
    while point < 400:
        point += 13
        stub.calls.clear()
        async with Kernel(tmp_path / str(point), "anpr", settings=gated(url)) as kernel:
            await set_up_gate(kernel)
            kernel.crash_plan.crash_at(point)
            crashed = await play_through_crash(kernel, car(seconds=2))
            await kernel.drain()
            await kernel.advance(20)
            await asyncio.sleep(0.02)
            await kernel.advance(400)
            await the_event(kernel)
            assert len(await kernel.events("entry_matched")) == 1
            assert stub.opened <= 1
            ends = await kernel.events("gate_opened", "gate_open_failed")
            assert len(ends) == 1, "how it ended is told once"
            opened.append(stub.opened)
        if not crashed:
            break
    else:
        pytest.fail("the scene never ended without a crash")
    assert len(opened) > 5
    assert opened.count(1) > len(opened) // 2


async def play_through_crash(kernel: Kernel, scene: Scene) -> bool:
    """Post the scene as a worker that keeps a batch until it is taken; whether the daemon crashed on the way."""
    crashed = False
    task_id = await kernel.task_for(scene)
    began_ms = kernel.clock.now_ms()
    for shot in scene.shots():
        at_ms = began_ms + round(shot.second * 1000)
        await kernel.advance_to(at_ms)
        body = kernel.shot_body(scene, shot, task_id, at_ms)
        await kernel.post(body)
        await kernel.settle()
        if kernel.crash_plan.dead:
            crashed = True
            await kernel.crash()
            await kernel.start()
            assert (await kernel.post(body)).status == 200
    return crashed


async def test_a_deleted_camera_takes_its_gate_with_it(heldard_kernel: Make, relay: Any) -> None:
    _, url = relay
    async with heldard_kernel("anpr", settings=gated(url)) as kernel:
        await set_up_gate(kernel)
        await kernel.play(car())
        assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204
        await kernel.settle()
        assert (await call(kernel, "GET", "/entry/gate"))["policies"] == []
        await the_event(kernel)
