"""What the log is asked: detections by every filter, newest first, page by page; the outbox from a place on."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from heldard import keys
from heldard.clock import rfc3339
from heldard.testing import START_MS, detection, post
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]
PATH = "/api/v1/cameras/gate/detections"


async def fill(kernel: Kernel, batches: int = 40) -> list[dict[str, Any]]:
    """Batches of two tasks, every label and track a few times; all detections, newest first, as they must be shown."""
    dice = random.Random(7)
    await kernel.add_camera()
    await kernel.add_camera("yard")
    tasks = {kind: await kernel.add_task("gate", kind) for kind in ("detection", "anpr")}
    await kernel.advance(100)
    wanted: list[dict[str, Any]] = []
    for n in range(batches):
        kind = dice.choice(["detection", "anpr"])
        camera = "gate" if n % 5 else "yard"
        at_ms = START_MS + (n // 2) * 1000  # pairs share a time
        frame = f"{tasks[kind]}:{START_MS + n}" if n % 3 else f"own{n}"
        found = [
            detection(dice.choice(["person", "car", "rare"] if n == 21 else ["person", "car"]), track=f"t{n % 4}")
            for _ in range(dice.randint(0, 4))
        ]
        reply = await kernel.post(post(camera, *found, task_type=kind, frame_id=frame, timestamp=rfc3339(at_ms)))
        assert reply.status == 200
        if camera == "gate":
            shown = {"seq": reply.body["seq"], "task_type": kind, "timestamp": rfc3339(at_ms), "at_ms": at_ms}
            rows = [
                {
                    **shown,
                    "label": d["label"],
                    "track_id": d["track_id"],
                    "frame": frame,
                    "at_ms": at_ms,
                    "place": place,
                }
                for place, d in enumerate(found)
            ]
            wanted += rows
    return sorted(wanted, key=lambda row: (row["at_ms"], row["seq"], row["place"]), reverse=True)


def seen(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["seq"], row["label"], row["track_id"], row["timestamp"]) for row in rows]


async def test_every_filter_answers_as_a_plain_search_does(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        wanted = await fill(kernel)
        span = f"from={rfc3339(START_MS + 3000)}&to={rfc3339(START_MS + 9000)}"
        in_span = [row for row in wanted if START_MS + 3000 <= row["at_ms"] <= START_MS + 9000]
        some_frame = wanted[3]["frame"]
        cases: list[tuple[str, list[dict[str, Any]]]] = [
            ("", wanted),
            ("label=car", [row for row in wanted if row["label"] == "car"]),
            ("label=rare", [row for row in wanted if row["label"] == "rare"]),
            ("label=never", []),
            ("label=", []),
            (span, in_span),
            (f"{span}&label=person", [row for row in in_span if row["label"] == "person"]),
            ("track_id=t2", [row for row in wanted if row["track_id"] == "t2"]),
            ("task_type=anpr", [row for row in wanted if row["task_type"] == "anpr"]),
            ("task_type=never", []),
            (f"frame_id={quote(some_frame)}", [row for row in wanted if row["frame"] == some_frame]),
            (f"frame_id={quote('w:' + some_frame)}", [row for row in wanted if row["frame"] == some_frame]),
            ("frame_id=never", []),
            ("limit=3", wanted[:3]),
            ("limit=0", wanted[:1]),
            ("limit=999999", wanted),
        ]
        for query, expected in cases:
            assert seen(await kernel.get(f"{PATH}?{query}&limit=5000" if "limit" not in query else f"{PATH}?{query}")
                        ) == seen(expected), query  # fmt: skip


async def test_a_task_id_is_a_filter_too(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        one, other = await kernel.add_task(), await kernel.add_task(task_type="anpr")
        for n, task in enumerate((one, other, one)):
            await kernel.post(post("gate", detection(), frame_id=f"{task}:{START_MS + n}"))
        assert [row["seq"] for row in await kernel.get(f"{PATH}?task_id={one}")] == [3, 1]


@pytest.mark.parametrize("query", ["", "label=person", "track_id=t1"])
async def test_pages_follow_each_other_without_gap_or_overlap(heldard_kernel: MakeKernel, query: str) -> None:
    async with heldard_kernel() as kernel:
        await fill(kernel)
        whole = await kernel.get(f"{PATH}?{query}&limit=5000")
        pages: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            reply = await kernel.request("GET", f"{PATH}?{query}&limit=3&cursor={cursor}")
            pages += reply.body
            cursor = reply.headers.get("X-Next-Cursor")  # type: ignore[assignment]
        assert [row["id"] for row in pages] == [row["id"] for row in whole]
        assert len(pages) > 6


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("cursor=zzz", 400), ("cursor=1", 400), ("cursor=1.2.3", 400), ("cursor=-1.-2.3", 400),
        ("cursor=99999999999999999999.1", 400), ("from=soon", 400), ("to=2026-01-01", 400), ("limit=x", 400),
        ("label=%ff%fe", 200), ("track_id=%00", 200), ("frame_id=%ed%a0%80:1", 200), ("task_type=%00", 200),
        ("limit=99999999999999999999999", 200), ("frame_id=a:999999999999999", 200), ("frame_id=:1", 200),
    ],
)  # fmt: skip
async def test_no_query_is_answered_with_a_500(heldard_kernel: MakeKernel, query: str, status: int) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection(), frame_id="a:1"))
        assert (await kernel.request("GET", f"{PATH}?{query}")).status == status


async def test_the_outbox_gives_the_log_from_a_place_on_with_payloads_when_asked(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        wanted = await fill(kernel, 20)
        page = await kernel.get("/api/v1/outbox?since_seq=5&limit=10")
        assert [entry["seq"] for entry in page["entries"]] == list(range(6, 16))
        assert (page["next_seq"], page["count"]) == (15, 10)
        assert all(entry["payload"] is None for entry in page["entries"])
        entry = page["entries"][0]
        assert (entry["topic"], entry["camera_id"]) == ("detections", "yard")
        full = await kernel.get("/api/v1/outbox?payload=true&limit=1000")
        inside = [row for entry in full["entries"] if entry["camera_id"] == "gate" for row in entry["payload"]]
        assert sorted(seen(inside)) == sorted(seen(wanted))
        assert all(len(entry["payload"]) == entry["detection_count"] for entry in full["entries"])
        end = await kernel.get("/api/v1/outbox?since_seq=20")
        assert end == {"entries": [], "next_seq": None, "count": 0}


@pytest.mark.parametrize(("since", "status"), [("-5", 200), ("9999999999999999999999", 400), ("x", 400)])
async def test_the_outbox_refuses_places_that_are_none(heldard_kernel: MakeKernel, since: str, status: int) -> None:
    async with heldard_kernel() as kernel:
        assert (await kernel.request("GET", f"/api/v1/outbox?since_seq={since}")).status == status


async def test_stored_batches_come_back_as_they_went_in(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        for n in range(5):
            await kernel.advance(1)
            await kernel.post(post("gate", detection(track=str(n), bbox=(0.1, 0.2, 0.3, 0.4), n=n), epoch="run7"))
        log = kernel.app[keys.LOG]
        found = [batch async for batch in log.between("gate", START_MS + 2000, START_MS + 5000, page=2)]
        assert [batch.seq for batch in found] == [2, 3, 4]
        (first,) = found[0].detections
        assert (first.track_id, first.bbox, first.attributes, found[0].epoch) == (
            "1", (0.1, 0.2, 0.3, 0.4), {"n": 1}, "run7",
        )  # fmt: skip
        assert found[0].replayed


async def test_a_deleted_cameras_detections_go_and_its_log_stays(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await fill(kernel)
        before = await kernel.get("/api/v1/outbox?limit=1000")
        assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204
        await kernel.settle()
        rows = await kernel.rows(
            "SELECT DISTINCT n.text AS camera FROM detections d JOIN outbox o ON o.seq = d.id / 1024 "
            "JOIN names n ON n.id = o.camera"
        )
        assert rows == [{"camera": "yard"}]
        after = await kernel.get("/api/v1/outbox?limit=1000")
        assert [entry["seq"] for entry in after["entries"]] == [entry["seq"] for entry in before["entries"]]
