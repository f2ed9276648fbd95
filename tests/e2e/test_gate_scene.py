"""The main job: what comes out of the API is what happened in the video, and nothing is lost by a stop."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from heldard.clock import parse_rfc3339
from heldard.demo import scene, site
from heldard.demo.video import truth_beside

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TOLERANCE_S = 1.0
"""Between the scripted moment and the event's time: confirmation takes some frames at 8 per second."""
EXIT_TOLERANCE_S = 2.0
"""Leaving is confirmed for longer than entering, so that somebody on the edge is not told twice."""


async def test_the_scene_is_reported_as_it_was_drawn(box: Any) -> None:
    """At least nine of ten drawn plates read exactly; every crossing counted once; enters and exits paired."""
    truth = msgspec.json.decode(truth_beside(box.video).read_bytes(), type=scene.Truth)
    await site.set_up(box.ask, f"{box.video.name}?loop=0")

    async def over() -> bool:
        """Both have played the file to its end."""
        streams = await box.ask("GET", "/ai/samplers")
        return len(streams) == 2 and all(stream["cause"] == "ended" for stream in streams)

    await box.until(over, truth.duration_s + 40)

    async def settled() -> bool:
        gone = [e for e in await zone_events(box) if e["event_type"] == "zone_exit"]
        return len(gone) >= len(truth.stays) and len(await entries(box)) >= 0.9 * len(truth.plates)

    await box.until(settled, 30)
    check_plates(truth, await entries(box))
    happened = await zone_events(box)
    start_s = check_crossings(truth, happened)
    check_stays(truth, happened, start_s)
    check_dwell(happened)


async def entries(box: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await box.ask("GET", "/entry-events?limit=1000")
    return found


async def zone_events(box: Any) -> list[dict[str, Any]]:
    """Oldest first."""
    found = await box.ask("GET", "/events?limit=2000")
    return [e for e in sorted(found, key=lambda e: e["timestamp"]) if e["event_type"].startswith("zone_")]


def check_plates(truth: scene.Truth, found: Iterable[dict[str, Any]]) -> None:
    read = Counter(event["plate"] for event in found if event["plate"])
    drawn = {plate.plate: plate for plate in truth.plates}
    exact = [plate for plate in drawn if read[plate]]
    assert len(exact) >= 0.9 * len(drawn), f"read {dict(read)}"
    assert all(read[plate] == 1 for plate in exact), f"one passage, one event: {dict(read)}"
    wrong = {event["plate"]: event["direction"] for event in found if event["plate"] in drawn
             and event["direction"] != drawn[event["plate"]].direction}  # fmt: skip
    assert not wrong
    status = {event["plate"]: event["auth_status"] for event in found}
    assert all(status[plate] == "matched" for plate in site.KNOWN if plate in status)
    assert status.get(site.BLOCKED, "blocked") == "blocked"


def check_crossings(truth: scene.Truth, happened: Sequence[dict[str, Any]]) -> float:
    """Every crossing once, in order, the right way, at its time; the scene's start in seconds since the epoch."""
    crossed = [(at_s(e), e["event_type"].removeprefix("zone_cross_")) for e in happened if "cross" in e["event_type"]]
    assert [way for _, way in crossed] == [c.direction for c in truth.crossings]
    starts = [seen - drawn.at_s for (seen, _), drawn in zip(crossed, truth.crossings, strict=True)]
    assert max(starts) - min(starts) < TOLERANCE_S
    return statistics.median(starts)


def check_stays(truth: scene.Truth, happened: Sequence[dict[str, Any]], start_s: float) -> None:
    """Each stay in a zone has one enter and one exit of one track, at their times."""
    for zone in ("forecourt", "lay-by"):
        drawn = [s for s in truth.stays if s.zone == zone]
        own = [e for e in happened if e["payload"]["zone"] == zone]
        enters = [e for e in own if e["event_type"] == "zone_enter"]
        exits = {e["payload"]["track_id"]: e for e in own if e["event_type"] == "zone_exit"}
        assert len(enters) == len(drawn) == len(exits) == sum(e["event_type"] == "zone_exit" for e in own)
        for enter, stay in zip(enters, drawn, strict=True):
            left = exits[enter["payload"]["track_id"]]
            assert abs(at_s(enter) - start_s - stay.enter_s) < TOLERANCE_S, stay
            assert abs(at_s(left) - start_s - stay.exit_s) < EXIT_TOLERANCE_S, stay


def check_dwell(happened: Sequence[dict[str, Any]]) -> None:
    dwelt = [e for e in happened if e["event_type"] == "zone_dwell"]
    assert [(e["payload"]["zone"], e["payload"]["label"]) for e in dwelt] == [("lay-by", "car")]


def at_s(event: dict[str, Any]) -> float:
    return parse_rfc3339(event["timestamp"]) / 1000


async def test_a_stop_in_the_middle_loses_nothing_that_was_acknowledged(box: Any) -> None:
    """SIGTERM to the daemon under load, a new one on the same data, and the worker goes on as if nothing had been."""
    await site.cameras(box.ask, box.video.name)
    await site.tasks(box.ask)

    async def batches() -> list[dict[str, Any]]:
        page = await box.ask("GET", "/outbox?since_seq=0&limit=1000")
        found: list[dict[str, Any]] = page["entries"]
        return found

    async def working() -> bool:
        return len(await batches()) > 40

    await box.until(working, 40)
    box.daemon.process.terminate()
    await box.daemon.process.wait()
    assert box.daemon.process.returncode == 0, box.logs()
    await box.start_daemon()
    before = len(await batches())

    async def going_on() -> bool:
        return len(await batches()) > before + 40

    await box.until(going_on, 40)
    await box.worker.stop()
    assert box.worker.process.returncode == 0, box.logs()
    logged = [json.loads(line) for line in (box.folder / "worker.log").read_text().splitlines() if line.startswith("{")]
    told = next(line for line in reversed(logged) if line["event"] == "worker_stopped")
    stored = await batches()
    assert told["lost"] == 0, box.logs()
    assert len(stored) == told["batches"]
    assert sum(entry["detection_count"] for entry in stored) == told["detections"]
    assert [entry["seq"] for entry in stored] == sorted({entry["seq"] for entry in stored})

    async def driven() -> bool:
        return all(entry["fanned_out_at"] for entry in await batches())

    await box.until(driven, 20)


async def test_a_worker_with_a_key_for_one_camera_works_that_camera_only(guarded_box: Any) -> None:
    """Auth on and tickets required: the key may pull and post for the yard, so that is what the worker does."""
    box = guarded_box
    await site.cameras(box.ask, box.video.name)
    await site.tasks(box.ask)
    key = await box.ask("POST", "/api-keys", {
        "name": "yard worker", "capabilities": ["ai:tasks", "ai:frames", "ai:ingest"],
        "scope_kind": "cameras", "scope_cameras": [site.YARD],
    })  # fmt: skip
    await box.start_worker("--api-key", key["key"])

    async def posted() -> bool:
        return len((await box.ask("GET", "/outbox?since_seq=0&limit=1000"))["entries"]) > 30

    await box.until(posted, 40)
    entries = (await box.ask("GET", "/outbox?since_seq=0&limit=1000"))["entries"]
    assert {entry["camera_id"] for entry in entries} == {site.YARD}
    assert {lease["worker_id"] for lease in await box.ask("GET", "/ai/leases")} == {"e2e"}
    await box.worker.stop()
    assert box.worker.process.returncode == 0, box.logs()
    assert key["key"] not in box.logs()
    assert await box.ask("GET", "/ai/leases") == []
