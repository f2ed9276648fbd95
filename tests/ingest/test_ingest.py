"""Taking batches in: checks, one unit of work, duplicates, what the server writes, many at once."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from heldard import keys
from heldard.plugin import Batch, Consumer, Effects, PluginInfo, hookimpl
from heldard.testing import START_MS, detection, post
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]


class Keeper(Consumer):
    """Remembers what it was given."""

    name = "keeper"

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def consume(self, batch: Batch, effects: Effects) -> None:
        self.batches.append(batch)


class KeeperPlugin:
    __name__ = "keeper"

    def __init__(self) -> None:
        self.consumer = Keeper()

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("keeper", "1.0", ">=1.0,<2")

    @hookimpl
    def heldard_register_consumers(self) -> Sequence[Consumer]:
        return [self.consumer]


async def counts(kernel: Kernel) -> dict[str, int]:
    tables = ("outbox", "detections", "events", "names", "sources", "channels")
    return {table: (await kernel.rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in tables}


# --- I-1 .. I-3: what is refused, and that nothing is written then ---------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code", "part"),
    [
        ({"camera_id": "nowhere"}, 404, "camera_not_found", "nowhere"),
        ({"task_type": "  "}, 400, "invalid_value", "task_type"),
        ({"detections": [{}] * 1001}, 400, "too_many_detections", "1001"),
        ({"event": {"event_type": "zone_enter"}}, 400, "bad_event_type", "zone_"),
        ({"event": {"event_type": "Bad Type"}}, 400, "bad_event_type", "Bad Type"),
        ({"event": {"event_type": ""}}, 400, "bad_event_type", "1 to 64"),
        ({"event": {"event_type": "x" * 65}}, 400, "bad_event_type", "1 to 64"),
        ({"timestamp": "yesterday"}, 400, "bad_timestamp", "yesterday"),
        ({"timestamp": "9999-12-31T23:59:59-23:59"}, 400, "bad_timestamp", "9999"),
        ({"timestamp": "0001-01-01T00:00:00+23:59"}, 400, "bad_timestamp", "9999"),
        ({"timestamp": "2026-01-01T12:00:00"}, 400, "bad_timestamp", "offset"),
        ({"detections": [{}, {"bbox": [0, 0, 1]}]}, 400, "invalid_value", "detections[1].bbox"),
        ({"detections": [{"bbox": [0, 0, "x", 1]}]}, 422, "wrong_shape", "detections[0].bbox[2]"),
        ({"detections": [{"confidence": 1.5}]}, 400, "invalid_value", "detections[0].confidence"),
        ({"detections": [{"label": 7}]}, 422, "wrong_shape", "detections[0].label"),
        ({"detections": [{"label": "x" * 201}]}, 400, "name_too_long", "200"),
        ({"detections": [{"track_id": "x" * 513}]}, 400, "invalid_value", "detections[0].track_id"),
        ({"detections": {}}, 422, "wrong_shape", "detections"),
        ({"camera_id": None}, 422, "wrong_shape", "camera_id"),
    ],
)
async def test_i1_everything_is_checked_before_anything_is_written(
    heldard_kernel: MakeKernel, change: dict[str, Any], status: int, code: str, part: str
) -> None:
    async with heldard_kernel(settings={"ingest": {"provenance": "off"}}) as kernel:
        await kernel.add_camera()
        before = await counts(kernel)
        reply = await kernel.post({**post("gate", detection(), event={"event_type": "mine"}), **change})
        assert (reply.status, reply.body["code"]) == (status, code), reply.body
        assert part in reply.body["error"]
        assert await counts(kernel) == before


async def test_i1_the_camera_is_looked_at_before_all_else(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        reply = await kernel.post({"camera_id": "nowhere", "task_type": "", "timestamp": "never"})
        assert reply.status == 404


@pytest.mark.parametrize(("given", "kept"), [(None, "info"), ("info", "info"), ("warning", "warning"),
                                             ("critical", "warning"), ("wild", "warning")])  # fmt: skip
async def test_i3_a_worker_may_warn_but_not_more(heldard_kernel: MakeKernel, given: str | None, kept: str) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", event={"event_type": "mine", "severity": given, "payload": {"a": 1}}))
        (event,) = await kernel.events("mine")
        assert (event["severity"], event["payload"], event["camera_id"]) == (kept, {"a": 1}, "gate")


# --- I-4 .. I-6: what the server writes ------------------------------------------------------------------------------


async def test_i4_source_and_provenance_are_the_servers(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        lie = {"attributes": {"source": "camera_native", "_prov": {"key": "someone"}, "colour": "red"}}
        await kernel.post(post("gate", lie, {"attributes": [1, 2]}, {"attributes": None}, {"attributes": "text"}))
        found = await kernel.get("/api/v1/cameras/gate/detections")
    prov = {"source": "worker", "_prov": {"key": "system", "task": None, "worker": None}}
    kept = [row["attributes"] for row in reversed(found)]
    assert kept == [{"colour": "red", **prov}, {"_client": [1, 2], **prov}, prov, {"_client": "text", **prov}]


async def test_i5_frame_ids_of_workers_have_a_space_of_their_own(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection(), frame_id="k:native_anpr:7"))
        (found,) = await kernel.get("/api/v1/cameras/gate/detections")
        assert found["frame_id"] == "w:k:native_anpr:7"


@pytest.mark.parametrize("track", ["", "-1", "null", "None", None])
async def test_track_ids_that_mean_none_are_none(heldard_kernel: MakeKernel, track: str | None) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", {"label": "person", "track_id": track}))
        (found,) = await kernel.get("/api/v1/cameras/gate/detections")
        assert found["track_id"] is None


# --- I-7, I-8: once ---------------------------------------------------------------------------------------------------


async def test_i7_x60_a_duplicate_stores_nothing_and_names_the_original(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        body = post("gate", detection(), detection(), frame_id="f1", event={"event_type": "mine"})
        first = await kernel.post(body)
        again = await kernel.post({**body, "detections": [detection()] * 5})
        await kernel.settle()
        assert first.body == {"detections_ingested": 2, "ticketed": False, "seq": 1, "fanned_out": True}
        assert again.body == {"detections_ingested": 0, "duplicate": True, "ticketed": False, "seq": 1}
        assert (first.status, again.status) == (200, 200)
        assert (await counts(kernel))["detections"] == 2
        assert len(await kernel.events("mine")) == 1
    assert len(plugin.consumer.batches) == 1


async def test_i7_two_tasks_that_look_at_one_frame_are_two_batches(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.add_camera("yard")
        replies = [
            await kernel.post(post(camera, detection(), frame_id="f1", task_type=kind))
            for camera, kind in (("gate", "detection"), ("gate", "anpr"), ("yard", "detection"), ("gate", "anpr"))
        ]
        assert [reply.body.get("duplicate", False) for reply in replies] == [False, False, False, True]
        assert [reply.body["seq"] for reply in replies] == [1, 2, 3, 2]


async def test_x33_both_spellings_of_a_canonical_frame_id_are_one_frame(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        task = await kernel.add_task()
        first = await kernel.post(post("gate", detection(), frame_id=f"{task}:{START_MS}"))
        again = await kernel.post(post("gate", detection(), frame_id=f"{task}:2026-01-01T12:00:00+00:00"))
        assert again.body["duplicate"] is True
        assert again.body["seq"] == first.body["seq"]


async def test_i8_batches_without_a_frame_id_are_never_duplicates(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        for frame_id in (None, ""):
            reply = await kernel.post(post("gate", detection(), frame_id=frame_id))
            assert "duplicate" not in reply.body
        await kernel.settle()
        assert [batch.frame_id for batch in plugin.consumer.batches] == [None, None]


async def test_the_same_frame_from_many_connections_at_once_is_stored_once(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        body = post("gate", detection(), frame_id="f1")
        replies = await asyncio.gather(*(kernel.post(body) for _ in range(20)))
        assert sorted(reply.body.get("duplicate", False) for reply in replies) == [False] + [True] * 19
        assert {reply.body["seq"] for reply in replies} == {1}
        await kernel.settle()
        assert len(plugin.consumer.batches) == 1


async def test_x16_the_workers_event_is_in_the_transaction_of_its_batch(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()

        def broken(*_: Any) -> int:
            raise sqlite3.IntegrityError("the event cannot be written")

        kernel.app[keys.EVENTS].insert = broken  # type: ignore[method-assign]
        reply = await kernel.post(post("gate", detection(), event={"event_type": "mine"}))
        assert reply.status == 503
        assert await kernel.rows("SELECT * FROM outbox") == []


# --- I-9 and trusted time ---------------------------------------------------------------------------------------------


async def test_i9_all_detections_of_a_batch_share_the_workers_timestamp(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection(), detection(), timestamp="2026-01-01T10:00:00.123456789+01:00"))
        await kernel.post(post("gate", detection()))
        found = await kernel.get("/api/v1/cameras/gate/detections")
    assert [row["timestamp"] for row in found] == ["2026-01-01T12:00:00Z"] + ["2026-01-01T09:00:00.123Z"] * 2
    assert {row["at"] for row in found} == {"2026-01-01T12:00:00Z"}


async def test_trusted_time_is_the_capture_time_and_never_the_workers_clock(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        task = await kernel.add_task()
        await kernel.advance(10)
        for frame_id in (f"{task}:{START_MS + 4000}", f"{task}:{START_MS + 2000}", "mine", f"{task}:99999999999999"):
            await kernel.post(post("gate", detection(), frame_id=frame_id, timestamp="2031-01-01T00:00:00Z"))
        await kernel.settle()
    batches = plugin.consumer.batches
    # As captured; not before the one before it; when it came; not from the far future either.
    times = [batch.at_ms - START_MS for batch in batches]
    assert times[0] == max(4000, times[0])
    assert times == sorted(times)
    assert batches[0].captured_ms == START_MS + 4000
    assert batches[2].captured_ms is None
    assert batches[2].at_ms == START_MS + 10_000
    assert batches[3].captured_ms is None


async def test_an_answer_waits_for_the_consumers_but_not_for_long(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    going_on = asyncio.Event()

    async def slow(batch: Batch, effects: Effects) -> None:
        await going_on.wait()

    async with heldard_kernel(plugin, settings={"ingest": {"fanout_wait_ms": 50}}) as kernel:
        await kernel.add_camera()
        prompt = await kernel.post(post("gate", detection()))
        plugin.consumer.consume = slow  # type: ignore[assignment,method-assign]
        late = await kernel.post(post("gate", detection()))
        assert (prompt.body["fanned_out"], late.body["fanned_out"]) == (True, False)
        assert (await kernel.get("/api/v1/outbox"))["entries"][1]["fanned_out_at"] is None
        going_on.set()
        await kernel.drain()
        await kernel.advance(1)
        assert (await kernel.get("/api/v1/outbox"))["entries"][1]["fanned_out_at"] is not None


# --- bodies -----------------------------------------------------------------------------------------------------------


async def _send(kernel: Kernel, raw: bytes, kind: str = "application/json", **headers: str) -> tuple[int, Any]:
    assert kernel._client is not None
    given = {"content-type": kind, **headers}
    async with kernel._client.post("/api/v1/ai/events", data=raw, headers=given) as response:
        return response.status, await response.read()


async def test_gzip_bodies_are_taken_within_the_limit(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel(settings={"ingest": {"max_body_bytes": 4096}}) as kernel:
        await kernel.add_camera()
        fits = gzip.compress(msgspec.json.encode(post("gate", detection())))
        bomb = gzip.compress(b" " * 10_000_000)
        encoding = {"content-encoding": "gzip"}
        assert (await _send(kernel, fits, **encoding))[0] == 200
        status, body = await _send(kernel, bomb, **encoding)
        assert (status, msgspec.json.decode(body)["code"]) == (413, "too_large")
        assert (await _send(kernel, b"not gzip at all", **encoding))[0] == 400
        assert (await _send(kernel, fits[:-9], **encoding))[0] == 400
        assert (await _send(kernel, b" " * 5000))[0] == 413
        assert (await counts(kernel))["outbox"] == 1


async def test_another_content_type_is_415(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        assert (await _send(kernel, b"{}", "text/plain"))[0] == 415


def lines_of(raw: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in raw.split()] if b" " not in raw else [
        msgspec.json.decode(line) for line in raw.splitlines()
    ]  # fmt: skip


async def test_ndjson_answers_each_line_in_order_and_logs_them_in_order(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        await kernel.add_camera("yard")
        good = [
            msgspec.json.encode(post("gate" if n % 2 else "yard", detection(), frame_id=f"f{n}")) for n in range(200)
        ]
        lines = [*good[:100], b"{broken", msgspec.json.encode(post("nowhere")), b"", *good[100:], good[0]]
        status, raw = await _send(kernel, b"\n".join(lines), "application/x-ndjson")
        results = lines_of(raw)
        await kernel.drain()
    assert status == 200
    assert [line.get("code") for line in results[100:102]] == ["bad_json", "camera_not_found"]
    assert [line.get("status") for line in results[100:102]] == [400, 404]
    assert [line["seq"] for line in results if "seq" in line] == [*range(1, 201), 1]
    assert results[-1]["duplicate"] is True
    for camera in ("gate", "yard"):
        seen = [batch.seq for batch in plugin.consumer.batches if batch.camera_id == camera]
        assert seen == sorted(seen)
        assert len(seen) == 100


async def test_ndjson_lines_are_committed_together(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection()))
        before = kernel.app[keys.DB].writer.figures.groups
        line = msgspec.json.encode(post("gate", detection()))
        await _send(kernel, b"\n".join([line] * 640), "application/x-ndjson")
        assert kernel.app[keys.DB].writer.figures.groups - before < 320


async def test_ndjson_of_too_many_lines_is_refused_whole(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        line = msgspec.json.encode(post("gate"))
        status, raw = await _send(kernel, b"\n".join([line] * 1001), "application/x-ndjson")
        assert (status, msgspec.json.decode(raw)["code"]) == (400, "too_many_batches")
        assert (await counts(kernel))["outbox"] == 0


# --- the store's trouble ----------------------------------------------------------------------------------------------


async def test_a_full_queue_is_503_with_a_time_to_retry(heldard_kernel: MakeKernel) -> None:
    import threading

    async with heldard_kernel(settings={"store": {"queue_limit": 16}}) as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection()))
        writer = kernel.app[keys.DB].writer
        busy, opened = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> bool:
            busy.set()
            return opened.wait(10)

        holding = [writer.submit(hold)]
        await asyncio.to_thread(busy.wait)
        holding += [writer.submit(lambda _: True) for _ in range(16)]
        reply = await kernel.post(post("gate", detection()))
        assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "writer_full", "1")
        opened.set()
        await asyncio.gather(*holding)
        assert (await kernel.post(post("gate", detection()))).status == 200


async def test_batches_that_wait_are_bounded_in_bytes_too(heldard_kernel: MakeKernel) -> None:
    """What holds the writer is a unit here; behind it lie attributes that take up more than 1 MiB."""
    import threading

    async with heldard_kernel(settings={"store": {"queue_mb": 1}}) as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection(note="")))
        writer, opened = kernel.app[keys.DB].writer, threading.Event()
        holding = writer.submit(lambda _: opened.wait(30))
        large = asyncio.ensure_future(kernel.post(post("gate", detection(note="x" * 400_000))))
        while not writer.waiting_bytes:
            await asyncio.sleep(0.002)
        assert writer.waiting_bytes > 2**20
        refused = writer.figures.refused
        reply = await kernel.post(post("gate", detection()))
        assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "writer_full", "1")
        assert "MiB" in reply.body["error"]
        assert writer.figures.refused == refused + 1
        opened.set()
        await holding
        assert (await large).status == 200
        assert writer.waiting_bytes == 0
        assert (await kernel.post(post("gate", detection()))).status == 200


async def test_a_full_disk_is_507_and_passes_without_a_restart(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        await kernel.add_camera()
        big = [detection(plate="x" * 5000)] * 200
        await kernel.post(post("gate", detection(plate="")))
        writer = kernel.app[keys.DB].writer
        full = "PRAGMA max_page_count = 10"
        await writer.submit(lambda connection: connection.execute(full).fetchone())
        reply = await kernel.post(post("gate", *big))
        assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (507, "disk_full", "1")
        await writer.submit(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone())
        assert (await kernel.post(post("gate", *big))).status == 200
        assert (await counts(kernel))["detections"] == 201


async def test_a_request_that_is_given_up_is_still_stored_and_delivered(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        await kernel.post(post("gate", detection()))
        ingest, fanout = kernel.app[keys.INGEST], kernel.app[keys.FANOUT]
        from heldard.ingest.model import BatchPost
        from heldard.ingest.service import Binding

        given = ingest.take(BatchPost("gate", "detection"), Binding("gate", "detection", "f9", "system"))
        task = asyncio.ensure_future(given)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fanout._in_flight["gate"] == 1  # ticks wait for the batch, not for the request
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kernel.drain()
        assert fanout._in_flight["gate"] == 0
        assert [batch.frame_id for batch in plugin.consumer.batches] == [None, "w:f9"]


async def test_a_camera_deleted_while_its_batch_waits_for_names_gets_no_lane_again(heldard_kernel: MakeKernel) -> None:
    plugin = KeeperPlugin()
    async with heldard_kernel(plugin) as kernel:
        await kernel.add_camera()
        names = kernel.app[keys.INGEST]._names
        real = names.intern

        async def intern(words: Any) -> None:
            await real(words)
            if "never_seen_before" in words:
                assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204

        names.intern = intern  # type: ignore[method-assign]
        reply = await kernel.post(post("gate", detection(label="never_seen_before")))
        assert (reply.status, reply.body["code"]) == (404, "camera_not_found")
        assert kernel.app[keys.FANOUT].member("keeper").lanes == {}
        assert await kernel.rows("SELECT seq FROM outbox") == []
