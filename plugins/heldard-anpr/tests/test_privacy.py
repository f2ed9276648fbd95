"""What is kept of a plate, for how long, and that it can be erased."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec

from heldard.testing import Kernel

from .daemon import PLATE, Make, add_car, call, car, gated, set_up_gate, the_event


async def test_unmatched_plates_are_kept_as_a_hash_where_the_site_wants_that(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"hash_unmatched": True}}}) as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        scene = car(direction="inbound")
        add_car(scene, "XY34ZZZ", track="2", enter=3, direction="inbound")
        add_car(scene, "XY34ZZZ", track="3", enter=20, confidence=0.2)
        await kernel.play(scene)
        await kernel.advance(30)
        for table in ("entry_events", "anpr_reads", "anpr_decisions", "anpr_stays", "consumer_state", "events"):
            found = str([dict(row) for row in await kernel.rows(f"SELECT * FROM {table}")])
            assert "XY34ZZZ" not in found, table
            assert PLATE in found or table == "consumer_state", table
        (event,) = await call(kernel, "GET", "/entry-events?plate=xy34zzz")
        assert event["plate"].startswith("#")
        assert event["subject"]["plate"] == event["plate"]


async def test_what_is_stored_of_a_plate_is_given_out_and_erased(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        await kernel.play(car(direction="inbound"))
        await kernel.advance(30)
        stored = await call(kernel, "GET", f"/anpr/plates/{PLATE}")
        assert {table: bool(rows) for table, rows in stored.items()} == {
            "vehicles": True, "visitor_passes": False, "watchlist": False, "entry_events": True, "anpr_stays": True,
            "anpr_reads": True,
        }  # fmt: skip
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE}?lists=true")
        assert (gone["done"], gone["events"], gone["visits"], gone["list_entries"]) == (True, 1, 1, 1)
        assert not any((await call(kernel, "GET", f"/anpr/plates/{PLATE}")).values())
        assert await kernel.rows("SELECT * FROM anpr_decisions") == []
        assert await kernel.rows("SELECT * FROM anpr_plate_keys") == []


async def dump(kernel: Kernel) -> str:
    """Every row of every table."""
    tables = await kernel.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    return "\n".join([
        f"{table['name']}: {row}" for table in tables for row in await kernel.rows(f"SELECT * FROM {table['name']}")
    ])  # fmt: skip


async def answered(kernel: Kernel, request: asyncio.Future[Any]) -> None:
    """Return when a request was answered, or the daemon it was made to is dead."""
    while not request.done() and not kernel.crash_plan.dead:
        await asyncio.wait((request,), timeout=0.005)


async def a_day_with(kernel: Kernel, plate: str) -> None:
    """The plate is listed, let in, kept as a picture, and misread in the same visit; another vehicle comes too."""
    await set_up_gate(kernel)
    begins = kernel.clock.now_ms()
    for tenth in range(40):
        kernel.hold_frame("gate", begins + tenth * 200, jpeg=b"a picture")
    await kernel.play(car(plate))
    scene = car("XY34ZZZ", track="2")
    add_car(scene, plate[:-1] + "8", track="9", confidence=0.5, enter=0.0)
    await kernel.play(scene)
    await kernel.advance(30)


async def test_an_erased_plate_is_in_no_table_and_on_no_picture(heldard_kernel: Make, relay: Any) -> None:
    async with heldard_kernel("anpr", settings=gated(relay[1])) as kernel:
        await a_day_with(kernel, PLATE)
        spelled = {
            "label": "car",
            "attributes": {"note": "saw ab-12 cde there", "seen": {PLATE: 1, "other": ["ab12cde"]}},
        }
        await kernel.post({"camera_id": "gate", "task_type": "other", "detections": [spelled]})
        await kernel.advance(1)
        pictures = list((kernel.data_dir / "snapshots").rglob("*.jpg"))
        before = await dump(kernel)
        assert PLATE in before
        assert "XY34ZZZ" in before
        assert pictures
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE.lower()}?lists=true")
        after = await dump(kernel)
        assert PLATE.lower() not in after.lower().replace("-", "").replace(" ", "")
        assert "XY34ZZZ" in after
        assert gone["elsewhere"]["detections"] == 7
        assert gone["elsewhere"]["events"] >= 1
        assert gone["elsewhere"]["actions"] == 1
        assert gone["elsewhere"]["frames"] == len(pictures) - len(list((kernel.data_dir / "snapshots").rglob("*.jpg")))
        assert gone["elsewhere"]["frames"] >= 1
        (kept,) = await kernel.rows("SELECT attributes FROM detections WHERE attributes LIKE '%note%'")
        assert msgspec.json.decode(kept["attributes"]) == {"note": None, "seen": {"other": [None]}}
        (told,) = await kernel.events("data_erased")
        assert told["payload"]["erasure_id"] == gone["erasure_id"]


async def test_erasing_is_in_the_audit_log_without_the_plate(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE}")
        (line,) = [line for line in await call(kernel, "GET", "/audit") if line["action"] == "erase"]
        assert PLATE not in str(line)
        shown = await call(kernel, "GET", f"/erasures/{gone['erasure_id']}")
        assert (shown["state"], shown["kind"], shown["asked_by"]) == ("done", "plate", line["actor"])
        assert await call(kernel, "GET", "/erasures") == [shown]


async def test_a_visit_under_way_is_let_go_and_tells_nothing_of_an_erased_plate(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await kernel.play(car(seconds=0.2))  # too few reads for a decision yet
        assert any((await kernel.state("anpr")).values())
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE}")
        assert gone["visits"] == 1
        await kernel.advance(60)
        assert await kernel.state("anpr") == {}
        assert await call(kernel, "GET", "/entry-events") == []
        assert PLATE not in await dump(kernel)


async def test_a_plate_named_beside_another_vehicle_is_taken_out_and_the_other_stays_explained(
    heldard_kernel: Make,
) -> None:
    async with heldard_kernel("anpr") as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/watchlist", {"plate": PLATE, "kind": "block"}, 201)
        await kernel.play(car("AB12CDF"))  # one character from the listed one
        await kernel.advance(30)
        event = await the_event(kernel)
        assert PLATE in str(event)
        gone = await call(kernel, "DELETE", f"/anpr/plates/{PLATE}?lists=true")
        assert gone["events"] == 0
        assert gone["elsewhere"]["mentions"] >= 1
        assert PLATE not in await dump(kernel)
        assert (await the_event(kernel))["plate"] == "AB12CDF"
        told = await call(kernel, "GET", f"/entry-events/{event['id']}/decision")
        assert told["visits"][0]["reads"][0]["text"] == "AB12CDF"


async def test_a_hashed_plate_is_erased_under_its_hash(heldard_kernel: Make) -> None:
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": {"hash_unmatched": True}}}) as kernel:
        await kernel.add_camera("gate")
        await kernel.play(car())
        await kernel.advance(30)
        hashed = (await the_event(kernel))["plate"]
        assert hashed.startswith("#")
        assert hashed in await dump(kernel)
        await call(kernel, "DELETE", f"/anpr/plates/{PLATE}")
        after = await dump(kernel)
        assert hashed not in after
        assert PLATE not in after


async def test_a_crash_at_any_write_of_an_erasure_is_made_good_by_the_next_start(tmp_path: Path) -> None:
    counted: set[str] = set()
    for step in itertools.count(1):
        async with Kernel(tmp_path / str(step), "anpr") as kernel:
            await kernel.add_camera("gate")
            await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
            await kernel.play(car())
            await kernel.advance(6)
            kernel.crash_plan.crash_at(step)
            erasing = asyncio.ensure_future(kernel.request("DELETE", f"/api/v1/anpr/plates/{PLATE}?lists=true"))
            await answered(kernel, erasing)
            over = not kernel.crash_plan.dead
            await kernel.crash()
            erasing.cancel()  # whoever asked hears nothing of a daemon that is gone
            await asyncio.gather(erasing, return_exceptions=True)
            await kernel.start()
            await kernel.settle()
            rows = await kernel.rows("SELECT subject, counts, ended_ms FROM erasures")
            if not rows:
                assert step <= 2, "only what was never acknowledged, with its line in the audit log, may be forgotten"
                continue
            assert rows[0]["ended_ms"] is not None
            assert rows[0]["subject"] is None
            counted.add(rows[0]["counts"])
            assert PLATE not in await dump(kernel)
        if over:
            break
    assert step > 20
    assert len(counted) == 1, "nothing is counted twice or lost"


async def test_retention_differs_by_status(heldard_kernel: Make) -> None:
    retention = {"retention_days": {"unmatched": 1, "matched": 3}}
    async with heldard_kernel("anpr", settings={"plugins": {"anpr": retention}}) as kernel:
        await kernel.add_camera("gate")
        await call(kernel, "POST", "/vehicles", {"plate": PLATE}, 201)
        scene = car()
        add_car(scene, "XY34ZZZ", track="2", enter=3)
        await kernel.play(scene)
        await kernel.advance(30)
        await kernel.stop()
        kernel.clock.jump_to(kernel.clock.now_ms() + 2 * 86_400_000)
        await kernel.start()
        await kernel.advance(1)
        assert (await the_event(kernel))["plate"] == PLATE
        assert {row["visit_id"] for row in await kernel.rows("SELECT visit_id FROM anpr_reads")} == {
            row["id"] for row in await kernel.rows("SELECT id FROM anpr_visits")
        }
