"""The frame endpoint over HTTP, on real streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from heldard.api.endpoint import GUARD, PRINCIPAL, Endpoint, json_response
from heldard.clock import parse_rfc3339
from heldard.errors import HeldardError, InvalidError, UnauthenticatedError
from heldard.frames.routes import DESK, ROUTES, FrameDesk, capture_ms
from heldard.plugin import Frame
from heldard.sampler import routes as sampler_routes
from tests.streams.rig import CLOCK, Rig, encode_clip, running_sampler

URL = "/api/v1/cameras/cam/frame"


class Everybody:
    """A caller who may do all and sees every camera but one."""

    id = "system"
    revoked = False

    def can(self, capability: str) -> bool:
        return True

    def sees(self, camera_id: str) -> bool:
        return camera_id != "hidden"

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        if self.revoked:
            raise UnauthenticatedError("the credential is revoked")
        request[PRINCIPAL] = self  # type: ignore[misc]


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except HeldardError as error:
        body = {"error": error.message, "code": error.code, "details": error.details}
        return json_response(body, error.status)
    return answer


async def ticket(request: web.Request, camera_id: str, task: str, captured_ms: int) -> str | None:
    return f"f1.{task}.{captured_ms}" if task == "leased" else None


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return encode_clip(tmp_path_factory.mktemp("clips") / "clip.mp4").read_bytes()


@pytest.fixture
async def rig(tmp_path: Path, clip: bytes) -> AsyncIterator[Rig]:
    (tmp_path / "clip.mp4").write_bytes(clip)
    async with running_sampler(tmp_path, stall_s=1.0) as started:
        yield started


@pytest.fixture
async def client(rig: Rig) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application(middlewares=[errors])
    app[GUARD] = Everybody()
    app[DESK] = FrameDesk(rig.rings, rig.service, ticket, max_clients=2)
    app[sampler_routes.SAMPLER] = rig.service
    for endpoint in (*ROUTES, *sampler_routes.ROUTES):
        app.router.add_route(endpoint.method, endpoint.path, endpoint.bind())
    async with TestClient(TestServer(app)) as started:
        yield started


@pytest.fixture
async def sampling(rig: Rig) -> Rig:
    rig.want("cam", "file:clip.mp4", fps=10)
    await rig.sampling()
    return rig


async def test_f3_a_frame_comes_with_its_time_age_and_identity(client: TestClient[Any, Any], sampling: Rig) -> None:
    async with client.get(URL) as answer:
        body = await answer.read()
        headers = answer.headers
    assert answer.status == 200
    assert (headers["content-type"], headers["cache-control"]) == ("image/jpeg", "no-store")
    assert body[:2] == b"\xff\xd8"
    captured_ms = parse_rfc3339(headers["x-frame-captured-at"])
    assert headers["x-frame-captured-at"].endswith("+00:00")
    assert re.fullmatch(r"\d+", headers["x-frame-age-ms"])
    assert headers["x-frame-id"] == f"sub:{captured_ms}"
    assert "x-frame-ticket" not in headers
    held = sampling.rings.find("cam", captured_ms)
    assert held is not None
    assert held.jpeg == body


async def test_f4_a_ticket_is_given_only_to_who_earns_one(client: TestClient[Any, Any], sampling: Rig) -> None:
    async with client.get(URL, params={"task": "leased"}) as answer:
        captured_ms = parse_rfc3339(answer.headers["x-frame-captured-at"])
        assert answer.headers["x-frame-id"] == f"leased:{captured_ms}"
        assert answer.headers["x-frame-ticket"] == f"f1.leased.{captured_ms}"
    async with client.get(URL, params={"task": "other"}) as answer:
        assert "x-frame-ticket" not in answer.headers


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"profile": "third"}, 400), ({"profile": "Main"}, 400), ({"task": "a\r\nx: y"}, 400), ({"task": "a b"}, 400),
        ({"after": "yesterday"}, 400), ({"wait": "-1"}, 400), ({"wait": "31"}, 400), ({"wait": "soon"}, 400),
        ({"max_age": "0"}, 400), ({"max_age": "nan"}, 400), ({"profile": "main"}, 404),
    ],
)  # fmt: skip
async def test_f1_bad_values_are_refused(
    client: TestClient[Any, Any], sampling: Rig, params: dict[str, str], status: int
) -> None:
    async with client.get(URL, params=params) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]


async def test_f2_before_the_first_frame_and_without_a_stream_it_is_not_found(
    client: TestClient[Any, Any], rig: Rig
) -> None:
    async with client.get(URL) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_sampled")
    rig.want("cam", "file:missing.mp4")
    await rig.until(lambda status: status.cause is not None)
    async with client.get(URL, params={"wait": "0.2"}) as answer:
        body = await answer.json()
    assert (answer.status, body["code"], body["details"]["cause"]) == (404, "no_frame", "not_found")


async def test_x9_who_has_the_newest_frame_is_told_so_without_a_body(client: TestClient[Any, Any], rig: Rig) -> None:
    rig.want("cam", "file:clip.mp4", fps=0.5)
    await rig.sampling()
    async with client.get(URL) as first:
        etag, frame_id = first.headers["etag"], first.headers["x-frame-id"]
    async with client.get(URL, headers={"if-none-match": etag}) as again:
        assert (again.status, await again.read(), again.headers["x-frame-id"]) == (304, b"", frame_id)
    async with client.get(URL, params={"after": frame_id}) as again:
        assert (again.status, await again.read()) == (304, b"")


async def test_a_waiting_worker_gets_every_frame_once_and_at_the_moment_it_exists(
    client: TestClient[Any, Any], sampling: Rig
) -> None:
    put: dict[int, float] = {}
    original = sampling.rings.put

    def noted(frame: Frame) -> Frame:
        held = original(frame)
        put[held.captured_ms] = CLOCK.monotonic()
        return held

    sampling.rings.put = noted  # type: ignore[method-assign]
    had: list[str] = []
    late: list[float] = []
    after = ""
    while len(had) < 12:
        async with client.get(URL, params={"wait": "5", **({"after": after} if after else {})}) as answer:
            await answer.read()
            after = answer.headers["x-frame-id"]
        had.append(after)
        captured = int(after.partition(":")[2])
        if captured in put:
            late.append(CLOCK.monotonic() - put[captured])
    times = [int(one.partition(":")[2]) for one in had]
    assert times == sorted(set(times)), "never the same one twice"
    assert max(later - earlier for earlier, later in pairwise(times)) < 250, "none was missed"
    assert len(late) >= 10


async def test_waiting_without_a_new_frame_ends_with_304_while_the_one_had_is_current(
    client: TestClient[Any, Any], rig: Rig
) -> None:
    rig.want("cam", "file:clip.mp4", fps=0.5)
    await rig.sampling()
    async with client.get(URL) as first:
        frame_id = first.headers["x-frame-id"]
    async with client.get(URL, params={"after": frame_id, "wait": "0.1"}) as answer:
        assert answer.status == 304


async def test_a_worker_that_had_frames_from_before_a_start_with_the_clock_behind_is_not_left_blind(
    client: TestClient[Any, Any], rig: Rig
) -> None:
    """The power fails, the box has no battery for its clock, and the worker beside it goes on where it was."""
    ahead = f"task:{CLOCK.now_ms() + 3_600_000}"
    rig.want("cam", "file:clip.mp4", fps=0.5)
    await rig.sampling()
    async with client.get(URL, params={"after": ahead, "wait": "1"}) as answer:
        assert answer.status == 200
        assert int(answer.headers["x-frame-id"].partition(":")[2]) < CLOCK.now_ms() + 1000


async def test_x8_a_stale_picture_is_not_served_as_current_and_the_reason_is_given(
    client: TestClient[Any, Any], rig: Rig
) -> None:
    rig.want("cam", "file:clip.mp4?loop=0", fps=10)
    await rig.sampling()
    async with client.get(URL, params={"max_age": "60"}) as answer:
        assert answer.status == 200
    await rig.until(lambda status: (status.last_frame_age_ms or 0) > 1100)
    async with client.get(URL) as answer:
        body = await answer.json()
    assert (answer.status, body["code"]) == (503, "frame_stale")
    assert (body["details"]["state"], body["details"]["cause"]) == ("offline", "ended")
    assert "the stream ended" in body["error"]
    async with client.get(URL, params={"max_age": "60"}) as answer:
        assert answer.status == 200, "who allows an older one gets it"
    async with client.get(URL, params={"max_age": "0.5"}) as answer:
        assert answer.status == 503


async def test_x8_a_camera_that_is_no_longer_sampled_has_no_picture(
    client: TestClient[Any, Any], sampling: Rig
) -> None:
    sampling.drop("cam")
    while sampling.service.status():
        await CLOCK.sleep(0.02)
    async with client.get(URL) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_sampled")


async def test_people_see_a_stream_of_pictures_and_only_so_many_at_once(
    client: TestClient[Any, Any], sampling: Rig
) -> None:
    url = "/api/v1/cameras/cam/stream"
    async with client.get(url) as first, client.get(url) as second:
        for answer in (first, second):
            assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
            pictures = 0
            while pictures < 3:
                line = await answer.content.readline()
                if line.lower().startswith(b"content-length:"):
                    await answer.content.readline()
                    await answer.content.readline()
                    assert (await answer.content.readexactly(int(line.split(b":")[1])))[:2] == b"\xff\xd8"
                    pictures += 1
        async with client.get(url) as third:
            assert (third.status, (await third.json())["code"]) == (429, "too_many_requests")
    deadline = CLOCK.monotonic() + 10
    while (await status_of(client, url)) != 200:
        assert CLOCK.monotonic() < deadline, "places are not given back"
        await CLOCK.sleep(0.05)


async def test_whoever_watches_sees_nothing_more_once_the_credential_is_revoked(
    client: TestClient[Any, Any], sampling: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client.get("/api/v1/cameras/cam/stream") as answer:
        assert answer.status == 200
        await answer.content.readuntil(b"\xff\xd8")
        monkeypatch.setattr(Everybody, "revoked", True)
        async with asyncio.timeout(30):
            await answer.read()  # it ends
        async with client.get("/api/v1/cameras/cam/stream") as again:
            assert again.status == 401


async def status_of(client: TestClient[Any, Any], url: str) -> int:
    async with client.get(url) as answer:
        return answer.status


async def test_a_watcher_who_does_not_read_is_dropped(
    client: TestClient[Any, Any], sampling: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heldard.frames.routes.SLOW_CLIENT_S", 0.2)
    desk = client.app[DESK]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /api/v1/cameras/cam/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readline()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    now_ms = CLOCK.now_ms()
    for number in range(400):
        if desk._clients == 0:
            break
        sampling.rings.put(
            Frame("", "cam", "sub", now_ms + 10_000 + number, number, 4, 3, b"\xff\xd8" + b"x" * 300_000)
        )
        await CLOCK.sleep(0.02)
    assert desk._clients == 0
    writer.close()


async def test_samplers_are_listed_for_who_may_see_their_camera(client: TestClient[Any, Any], sampling: Rig) -> None:
    sampling.want("hidden", "file:clip.mp4")
    await sampling.sampling("hidden")
    async with client.get("/api/v1/ai/samplers") as answer:
        listed = await answer.json()
    assert [one["camera_id"] for one in listed] == ["cam"]
    assert {"camera_id", "stream_profile", "state", "fps", "width"} <= listed[0].keys()
    assert (listed[0]["state"], listed[0]["fps"], listed[0]["width"]) == ("sampling", 10, 320)


async def test_x7_a_frame_s_bytes_and_time_belong_together_however_fast_it_is_polled(
    client: TestClient[Any, Any], sampling: Rig
) -> None:
    async def poll(session: ClientSession) -> dict[str, set[bytes]]:
        seen: dict[str, set[bytes]] = {}
        for _ in range(60):
            async with session.get(client.make_url(URL)) as answer:
                seen.setdefault(answer.headers["x-frame-captured-at"], set()).add(await answer.read())
        return seen

    for seen in await asyncio.gather(poll(client.session), poll(client.session)):
        assert all(len(bodies) == 1 for bodies in seen.values())


@pytest.mark.parametrize(
    "text",
    [
        "1795190000123", "sub:1795190000123", "ai_1:1795190000123", "2026-11-20T15:53:20.123Z",
        "ai_1:2026-11-20T15:53:20.123+00:00", "ai_1:2026-11-20T15:53:20.123 00:00",
    ],
)  # fmt: skip
def test_x33_a_frame_is_named_by_either_form_of_its_time(text: str) -> None:
    assert capture_ms(text) == 1795190000123


@pytest.mark.parametrize("text", ["", "x", "sub:", "-5", "sub:-5", "9" * 20, "a:b:c", "²"])
def test_what_names_no_frame_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        capture_ms(text)
