"""Stays, overstays and tailgating in the real kernel."""

from __future__ import annotations

from typing import Any

import pytest

from .daemon import PLATE, Make, add_car, call, car, gated, set_up_gate, the_event


async def test_stays_pair_entries_with_exits(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.play(car(direction="inbound"))
        (inside,) = await call(kernel, "GET", "/anpr/inside")
        assert (inside["plate"], inside["state"], inside["entry_camera"]) == (PLATE, "inside", "gate")
        await kernel.advance(600)
        await kernel.play(car(direction="outbound", track="2"))
        assert await call(kernel, "GET", "/anpr/inside") == []
        (stay,) = await call(kernel, "GET", f"/anpr/stays?plate={PLATE}")
        assert stay["state"] == "left"
        assert 600 <= stay["stay_s"] <= 602
        assert stay["exit_event"] != stay["entry_event"]


async def test_an_overstay_is_told_once_and_when_it_began(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"max_stay_h": 0.5}}}) as kernel:
        await kernel.play(car(direction="inbound"))
        event = await the_event(kernel)
        await kernel.advance(1790)
        assert await kernel.events("anpr_overstay") == []
        await kernel.advance(600)
        (told,) = await kernel.events("anpr_overstay")
        assert told["payload"]["entry_event_id"] == event["id"]
        assert told["payload"]["allowed_s"] == 1800
        assert (await call(kernel, "GET", "/anpr/inside"))[0]["overstayed"] is True


@pytest.mark.parametrize("follows", [True, False])
async def test_tailgating_is_another_vehicle_gone_on_one_opening(
    heldard_kernel: Make, relay: Any, follows: bool
) -> None:
    _, url = relay
    async with heldard_kernel("anpr", settings=gated(url, actuator={"off": None})) as kernel:
        await set_up_gate(kernel)
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=2, seconds=2 if follows else 60)
        await kernel.play(scene)
        await kernel.advance(30)
        told = await kernel.events("anpr_tailgating")
        assert len(told) == int(follows)
        if follows:
            assert told[0]["payload"]["plate"] == "XY34ZZZ"
            assert told[0]["payload"]["opened_for"] != told[0]["payload"]["followed_by"]
