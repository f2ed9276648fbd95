"""The worker against a kernel on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from heldard.clock import SystemClock
from heldard.errors import ConfigError
from heldard.worker.client import ClientSettings, Kernel, RefusedError, Results, TaskSpec, UnreachableError
from heldard.worker.detector import Detection, Detector, DetectorFactory, Picture
from heldard.worker.retry import Backoff
from heldard.worker.worker import Worker, WorkerSettings

from .stub import StubKernel, frame, task

QUICK = Backoff(0.01, 0.05)
CLOCK = SystemClock()


class Seeing:
    """A detector that says what it is told, frame after frame, and keeps what it was shown."""

    def __init__(self, *says: Sequence[Detection] | Exception) -> None:
        self.says, self.shown = list(says), list[Picture]()

    def detect(self, picture: Picture) -> Sequence[Detection]:
        self.shown.append(picture)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Exception):
            raise said
        return said


CAR = Detection("car", 0.9, (0.1, 0.2, 0.3, 0.4), "1")


def finding(detector: Detector) -> Callable[[str], DetectorFactory]:
    return lambda _type: lambda _config: detector


@asynccontextmanager
async def kernel_of(stub: StubKernel, **settings: Any) -> AsyncIterator[Kernel]:
    async with TestServer(stub.app()) as server, aiohttp.ClientSession() as session:
        given = {"api": str(server.make_url("/")), "worker_id": "w", "backoff": QUICK, "give_up_s": 5.0} | settings
        yield Kernel(session, ClientSettings(**given), CLOCK)


@asynccontextmanager
async def working(
    stub: StubKernel, find: Callable[[str], DetectorFactory], poll_s: float = 0.1, **settings: Any
) -> AsyncIterator[Worker]:
    async with kernel_of(stub, **settings) as kernel:
        worker = Worker(kernel, CLOCK, WorkerSettings(poll_interval_s=poll_s, grace_s=2.0), find)
        running = asyncio.ensure_future(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that must happen soon."""
    async with asyncio.timeout(10):
        while not condition():
            await CLOCK.sleep(0.01)


# --- leases -----------------------------------------------------------------------------------------------------------


async def test_a_lease_is_asked_for_with_id_ttl_and_types_and_given_back_at_the_stop():
    stub = StubKernel(tasks=[])
    async with working(stub, finding(Seeing([])), task_types=("detection",), lease_ttl_s=30, api_key="vok_x"):
        await until(lambda: len(stub.lease_calls) >= 2)
    assert stub.lease_calls[0] == {"worker_id": "w", "ttl_secs": 30, "task_types": ["detection"]}
    assert stub.headers[0]["X-API-Key"] == "vok_x"
    assert stub.headers[0]["User-Agent"].startswith("heldard-worker/")
    assert stub.released == ["lse_1"]


async def test_a_kernel_without_leases_is_asked_for_tasks_from_then_on():
    stub = StubKernel(leases=False, tasks=[task(), task("ai_2", task_type="helmets")], frames=[frame(1)])
    detector = Seeing([CAR])
    async with working(stub, finding(detector), task_types=("detection",)):
        await until(lambda: stub.posts and len(stub.task_calls) >= 3)
    assert len(stub.lease_calls) == 1
    assert stub.task_calls[0] == {"worker_id": "w"}
    assert {p.query["task"] for p in stub.pulls} == {"ai_1"}
    assert stub.released == []


async def test_a_task_that_cannot_be_understood_does_not_stop_the_others():
    stub = StubKernel(tasks=[{"id": "ai_0"}, task(fps="fast"), task("ai_2")], frames=[frame(1)])
    async with working(stub, finding(Seeing([CAR]))):
        await until(lambda: stub.posts)
    assert stub.posts[0]["frame_id"] == "ai_2:2026-01-01T00:00:01+00:00"


async def test_w1_a_changed_task_is_restarted_with_a_new_epoch_and_a_vanished_one_is_stopped():
    stub = StubKernel(tasks=[task()], frames=[frame(1), frame(2)])
    made: list[Mapping[str, Any]] = []

    def find(_type: str) -> DetectorFactory:
        def make(config: Mapping[str, Any]) -> Detector:
            made.append(config)
            return Seeing([CAR])

        return make

    async with working(stub, find) as worker:
        await until(lambda: stub.posts)
        stub.tasks = [task(config={"min_area": 0.1})]
        stub.frames = [frame(3), frame(4)]
        await until(lambda: len(made) == 2 and len({p["epoch"] for p in stub.posts}) == 2)
        stub.tasks = []
        await until(lambda: not worker._runners)
    assert made == [{}, {"min_area": 0.1}]


async def test_failing_to_lease_keeps_what_runs_running():
    stub = StubKernel(tasks=[task()], frames=[frame(n) for n in range(1, 60)])
    async with working(stub, finding(Seeing([CAR]))):
        await until(lambda: stub.posts)
        stub.lease_answers = [(500, "oops", {}), (403, {"error": "no"}, {})]
        before = len(stub.posts)
        await until(lambda: not stub.lease_answers and len(stub.posts) > before + 2)


# --- frames -----------------------------------------------------------------------------------------------------------


async def test_frame_id_and_ticket_are_echoed_and_the_next_frame_is_waited_for():
    stub = StubKernel(
        tasks=[task()], frames=[frame(1, x_frame_id="ai_1:1767225601000", x_frame_ticket="f1.x"), 304]
    )  # fmt: skip
    async with working(stub, finding(Seeing([CAR])), wait_s=3.0):
        await until(lambda: stub.posts and len(stub.pulls) >= 2)
    post = stub.posts[0]
    assert post["frame_id"] == "ai_1:1767225601000"
    assert post["frame_ticket"] == "f1.x"
    assert post["timestamp"] == "2026-01-01T00:00:01Z"
    assert post["detections"] == [{"label": "car", "confidence": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4], "track_id": "1"}]
    assert "after" not in stub.pulls[0].query
    assert dict(stub.pulls[1].query) == {"profile": "sub", "task": "ai_1", "after": "ai_1:1767225601000", "wait": "3"}


async def test_the_same_frame_is_looked_at_once():
    stub = StubKernel(tasks=[task()], frames=[frame(1), frame(1), frame(1), frame(2), frame(2)])
    detector = Seeing([CAR])
    async with working(stub, finding(detector)):
        await until(lambda: len(stub.pulls) >= 6)
    assert [p.captured_ms % 60_000 for p in detector.shown] == [1000, 2000]


async def test_a_frame_older_than_two_seconds_is_not_looked_at():
    stale = frame(1) | {"x-frame-age-ms": "2001"}
    stub = StubKernel(tasks=[task()], frames=[stale, frame(2) | {"x-frame-age-ms": "1999"}])
    detector = Seeing([CAR])
    async with working(stub, finding(detector)) as worker:
        await until(lambda: detector.shown)
        assert worker.progress.stale == 1
    assert detector.shown[0].captured_ms % 60_000 == 2000


async def test_a_frame_without_a_capture_time_has_no_frame_id():
    stub = StubKernel(tasks=[task()], frames=[{}])
    async with working(stub, finding(Seeing([CAR]))):
        await until(lambda: stub.posts)
    assert "frame_id" not in stub.posts[0]


@pytest.mark.parametrize("url", ["http://evil/x", "//evil/x", "/a/../b", "frame", "/x?u=http://evil", "\\\\evil\\x"])
async def test_frames_are_pulled_from_the_kernel_and_nowhere_else(url: str):
    stub = StubKernel()
    async with kernel_of(stub) as kernel:
        with pytest.raises(RefusedError, match="not a path on the kernel"):
            await kernel.frame(TaskSpec("ai_1", "cam", "detection", url))
    assert not stub.pulls


async def test_task_is_added_to_a_frame_url_that_lacks_it():
    stub = StubKernel(frames=[frame(1)])
    async with kernel_of(stub) as kernel:
        await kernel.frame(TaskSpec("ai_1", "cam", "detection", "/api/v1/cameras/cam/frame?profile=main"))
    assert dict(stub.pulls[0].query) == {"profile": "main", "task": "ai_1"}


# --- results ----------------------------------------------------------------------------------------------------------


async def test_an_emptied_scene_is_told_at_once_and_then_once_a_second():
    frames = [frame(1), *({"x-frame-captured-at": f"2026-01-01T00:00:02.{n}00+00:00"} for n in range(1, 9)), frame(4)]
    stub = StubKernel(tasks=[task()], frames=list(frames))
    async with working(stub, finding(Seeing([CAR], []))):
        await until(lambda: len(stub.posts) >= 3)
    assert [(len(p["detections"]), p["timestamp"]) for p in stub.posts] == [
        (1, "2026-01-01T00:00:01Z"), (0, "2026-01-01T00:00:02.100Z"), (0, "2026-01-01T00:00:04Z"),
    ]  # fmt: skip


async def test_an_empty_scene_is_not_told_where_the_task_does_not_want_it():
    stub = StubKernel(tasks=[task(config={"post_empty": False})], frames=[frame(1), frame(2), frame(3)])
    async with working(stub, finding(Seeing([], [], [CAR]))):
        await until(lambda: stub.posts)
    assert [p["timestamp"] for p in stub.posts] == ["2026-01-01T00:00:03Z"]


async def test_a_post_is_tried_again_until_the_kernel_takes_it():
    stub = StubKernel(
        tasks=[task()], frames=[frame(1)],
        answers=[(503, {"error": "busy"}, {"Retry-After": "0"}), (429, "slow down", {}), (500, "oops", {})],
    )  # fmt: skip
    async with working(stub, finding(Seeing([CAR]))) as worker:
        await until(lambda: worker.progress.batches == 1)
        assert worker.progress.lost == 0
    assert [p["answered"] for p in stub.posts] == [503, 429, 500, 200]
    assert len({p["frame_id"] for p in stub.posts}) == 1


async def test_retry_after_is_honoured():
    stub = StubKernel(answers=[(503, "busy", {"Retry-After": "1"})])
    async with kernel_of(stub) as kernel:
        began = CLOCK.monotonic()
        await kernel.post(Results("cam", "detection", "2026-01-01T00:00:00Z", []))
    assert CLOCK.monotonic() - began >= 1


async def test_a_post_that_never_gets_through_is_given_up_and_counted():
    stub = StubKernel(tasks=[task()], frames=[frame(1)], answers=[(500, "oops", {})] * 1000)
    async with working(stub, finding(Seeing([CAR])), give_up_s=0.1) as worker:
        await until(lambda: worker.progress.lost == 1)
        assert worker.progress.batches == 0


@pytest.mark.parametrize("status", [400, 403, 404, 413, 415, 422])
async def test_a_refused_post_is_not_repeated(status: int):
    stub = StubKernel(answers=[(status, {"error": "no"}, {})])
    async with kernel_of(stub) as kernel:
        with pytest.raises(RefusedError, match=str(status)) as refusal:
            await kernel.post(Results("cam", "detection", "2026-01-01T00:00:00Z", []))
    assert len(stub.posts) == 1
    assert not refusal.value.lease_lost


@pytest.mark.parametrize(
    ("status", "body", "lost"),
    [(401, {"error": "frame_ticket_required"}, True), (401, {"error": "no live lease"}, True),
     (401, {"error": "unknown key"}, False), (409, {"error": "whatever"}, True)],
)  # fmt: skip
async def test_a_lost_lease_is_asked_for_again_before_its_time(status: int, body: dict[str, str], lost: bool):
    stub = StubKernel(tasks=[task()], frames=[frame(1), frame(2)], answers=[(status, body, {})])
    async with working(stub, finding(Seeing([CAR])), poll_s=60) as worker:
        await until(lambda: worker.progress.lost == 1)
        if lost:
            await until(lambda: len(stub.lease_calls) == 2)
        else:
            await until(lambda: worker.progress.batches == 1)
            assert len(stub.lease_calls) == 1


async def test_more_detections_than_a_post_takes_are_cut_to_the_surest():
    crowd = [Detection("car", n / 1200) for n in range(1200)]
    stub = StubKernel(tasks=[task()], frames=[frame(1)])
    async with working(stub, finding(Seeing(crowd))):
        await until(lambda: stub.posts)
    assert len(stub.posts[0]["detections"]) == 1000
    assert min(d["confidence"] for d in stub.posts[0]["detections"]) == pytest.approx(200 / 1200)


async def test_an_answer_that_is_empty_counts_as_taken():
    stub = StubKernel(answers=[(200, "", {})])
    async with kernel_of(stub) as kernel:
        assert (await kernel.post(Results("cam", "detection", "2026-01-01T00:00:00Z", []))).detections_ingested == 0


async def test_a_kernel_that_is_not_there_is_unreachable_and_said_to_be(unused_tcp_port: int):
    async with kernel_of(StubKernel(), api=f"http://127.0.0.1:{unused_tcp_port}") as kernel:
        with pytest.raises(UnreachableError, match="does not answer"):
            await kernel.lease()


# --- detectors and the end --------------------------------------------------------------------------------------------


async def test_a_detector_that_raises_costs_that_frame_only():
    stub = StubKernel(tasks=[task()], frames=[frame(1), frame(2)])
    async with working(stub, finding(Seeing(RuntimeError("no"), [CAR]))) as worker:
        await until(lambda: worker.progress.batches == 1)
        assert worker.progress.failed == 1
    assert stub.posts[0]["timestamp"] == "2026-01-01T00:00:02Z"


@pytest.mark.parametrize("refusal", [ConfigError("no detector"), ValueError("min_area: Expected `float`")])
async def test_a_task_without_a_usable_detector_waits_and_others_run(refusal: Exception):
    stub = StubKernel(tasks=[task(task_type="helmets"), task("ai_2")], frames=[frame(1)])

    def find(task_type: str) -> DetectorFactory:
        if task_type == "helmets":
            raise refusal
        return lambda _config: Seeing([CAR])

    async with working(stub, find):
        await until(lambda: stub.posts)
    assert {p.query["task"] for p in stub.pulls} == {"ai_2"}


async def test_a_stop_lets_the_batch_under_way_through_and_takes_no_further_frame():
    stub = StubKernel(tasks=[task()], frames=[frame(n) for n in range(1, 50)])
    posting, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        posting.set()
        await go_on.wait()

    stub.on_post = hold
    async with working(stub, finding(Seeing([CAR]))) as worker:
        await posting.wait()
        pulled = len(stub.pulls)
        worker.stop()
        asyncio.get_running_loop().call_later(0.2, go_on.set)
    assert [p["answered"] for p in stub.posts] == [200]
    assert worker.progress.batches == 1
    assert len(stub.pulls) == pulled
    assert stub.released == ["lse_1"]


async def test_a_stop_does_not_wait_for_a_frame_that_does_not_come():
    stub = StubKernel(tasks=[task()], frames=[frame(1, x_frame_id="ai_1:1767225601000"), 304])
    async with working(stub, finding(Seeing([CAR])), wait_s=30.0) as worker:
        await until(lambda: stub.posts and len(stub.pulls) >= 2)
        began = CLOCK.monotonic()
        worker.stop()
        await until(lambda: stub.released)
    assert CLOCK.monotonic() - began < 5
