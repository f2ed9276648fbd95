"""Frames for workers and for people."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta

from heldard.api.endpoint import GUARD, Query, route
from heldard.clock import parse_rfc3339, rfc3339_offset
from heldard.errors import BusyError, HeldardError, InvalidError, NotFoundError, TooManyError
from heldard.frames.ring import FrameRings
from heldard.plugin import Frame
from heldard.sampler.model import SamplerStatus
from heldard.sampler.service import SamplerService

MAX_WAIT_S = 30.0
SLOW_CLIENT_S = 5.0
BOUNDARY = "frame"

_TASK = re.compile(r"[A-Za-z0-9_-]{1,100}")

Profile = Literal["sub", "main"]
Ticket = Callable[[web.Request, str, str, int], Awaitable[str | None]]
"""(request, camera id, task id, capture ms): the ticket for this caller, None when it holds no lease on the task."""
Asked = Callable[[web.Request, str], None]
"""(request, task id): a frame was asked for on behalf of a task, whether there is one or not."""


def _nobody_listens(_request: web.Request, _task_id: str) -> None:
    return None


class FrameQuery(Query, frozen=True, kw_only=True):
    """profile: which stream. task: the asking task's id; names the frame and earns a ticket.

    after: the `x-frame-id` (or capture time) of the last frame had: only a later one is wanted. wait: seconds to wait
    for a frame that is wanted, 0..30. max_age: seconds; an older frame is answered with 503.
    """

    profile: Profile = "sub"
    task: str | None = None
    after: str | None = None
    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 0.0
    max_age: Annotated[float, Meta(gt=0, le=3600)] | None = None


class StreamQuery(Query, frozen=True, kw_only=True):
    """profile: which stream."""

    profile: Profile = "sub"


class FrameDesk:
    """Hands out frames: what is current, what is too old, and why there is none."""

    def __init__(self, rings: FrameRings, sampler: SamplerService, ticket: Ticket, *, max_clients: int) -> None:
        self.ticket = ticket
        self.asked: Asked = _nobody_listens
        self._rings = rings
        self._sampler = sampler
        self._max_clients = max_clients
        self._clients = 0

    async def frame(self, camera_id: str, query: FrameQuery) -> Frame | None:
        """The frame that is wanted; None when there is only the one that the caller has.

        Raises NotFoundError before a stream's first frame, BusyError (`frame_stale`, `stream_stopped`) when there is no
        current one.
        """
        after_ms = -1 if query.after is None else capture_ms(query.after)
        if not self._rings.may_have_given(camera_id, query.profile, after_ms):
            after_ms = -1  # or the caller would see nothing until the clock has come to that frame again
        frame = self._current(camera_id, query.profile, query.max_age)
        if query.wait > 0 and (frame is None or frame.captured_ms <= after_ms):
            self._require_stream(camera_id, query.profile)
            oldest = after_ms if frame is None else max(after_ms, frame.captured_ms)
            frame = await self._rings.wait_next(camera_id, query.profile, oldest, query.wait)
        frame = frame or self._current(camera_id, query.profile, query.max_age)
        if frame is None:
            raise self._absence(camera_id, query.profile, query.max_age)
        return frame if frame.captured_ms > after_ms else None

    def age_ms(self, frame: Frame) -> int:
        """How old a stream's newest frame is; never negative."""
        age_s = self._rings.age_s(frame.camera_id, frame.profile)
        return 0 if age_s is None else max(0, int(age_s * 1000))

    async def watch(self, camera_id: str, profile: Profile, send: Callable[[Frame], Awaitable[None]]) -> None:
        """Send the newest frame again and again, for as long as there is one; slow takers miss what came meanwhile."""
        if self._clients >= self._max_clients:
            raise TooManyError(
                f"{self._max_clients} people are watching already: close one, or raise sampler.max_stream_clients",
                retry_after_s=10,
            )
        self._clients += 1
        try:
            frame = await self.frame(camera_id, FrameQuery(profile=profile, wait=5.0))
            while frame is not None:
                async with asyncio.timeout(SLOW_CLIENT_S):
                    await send(frame)
                frame = await self._rings.wait_next(
                    camera_id, profile, frame.captured_ms, self._limit_s(camera_id, profile)
                )
        finally:
            self._clients -= 1

    def _current(self, camera_id: str, profile: str, max_age_s: float | None) -> Frame | None:
        age_s = self._rings.age_s(camera_id, profile)
        limit_s = self._limit_s(camera_id, profile) if max_age_s is None else max_age_s
        return None if age_s is None or age_s > limit_s else self._rings.latest(camera_id, profile)

    def _limit_s(self, camera_id: str, profile: str) -> float:
        """How old a frame may be and still be called current: as old as the watchdog lets it become."""
        return self._sampler.stale_after_s(camera_id, profile)

    def _require_stream(self, camera_id: str, profile: str) -> None:
        status = self._sampler.status_of(camera_id, profile)
        if status is None or status.state == "budget_exhausted":
            raise self._absence(camera_id, profile, None)

    def _absence(self, camera_id: str, profile: str, max_age_s: float | None) -> Exception:
        status = self._sampler.status_of(camera_id, profile)
        age_s = self._rings.age_s(camera_id, profile)
        if status is None:
            return NotFoundError(
                f"{camera_id}/{profile} is not sampled: that takes an enabled camera and an enabled task on it",
                code="not_sampled",
            )
        details: dict[str, object] = {"state": status.state, "cause": status.cause, "reason": status.reason}
        if age_s is not None:
            details["age_ms"] = int(age_s * 1000)
            limit = f"; at most {max_age_s:g} s were asked for" if max_age_s is not None else ""
            return BusyError(
                f"the newest frame of {camera_id}/{profile} is {age_s:.1f} s old{limit}. {_why(status)}",
                code="frame_stale", details=details,
            )  # fmt: skip
        if status.state == "budget_exhausted":
            return BusyError(
                f"{camera_id}/{profile}: {status.reason}", code="budget_exhausted", details=details, retry_after_s=60
            )
        return NotFoundError(f"no frame of {camera_id}/{profile} yet. {_why(status)}", code="no_frame", details=details)


DESK = web.AppKey("frame_desk", FrameDesk)


@route(
    "GET", "/api/v1/cameras/{camera_id}/frame", capability="ai:frames", camera="camera_id", tag="frames",
    produces="image/jpeg", also=(304,),
)  # fmt: skip
async def frame(request: web.Request, camera_id: str, query: FrameQuery) -> web.Response:
    """The newest frame of a stream as JPEG, or the next one as soon as it exists.

    304 when the caller has it already, by `If-None-Match` or by `after`; 404 before the first frame; 503 when the
    newest is too old to be called current.
    """
    if query.task is not None and not _TASK.fullmatch(query.task):
        raise InvalidError("task: a task id has only letters, digits, _ and -")
    desk = request.app[DESK]
    if query.task is not None:
        desk.asked(request, query.task)
    newest = await desk.frame(camera_id, query)
    if newest is None:
        return web.Response(status=304, headers={"cache-control": "no-store"})
    headers = {
        "cache-control": "no-store",
        "etag": f'"{newest.profile}-{newest.captured_ms}"',
        "x-frame-id": f"{query.task or newest.profile}:{newest.captured_ms}",
        "x-frame-captured-at": rfc3339_offset(newest.captured_ms),
        "x-frame-age-ms": str(desk.age_ms(newest)),
    }
    if query.task is not None and (ticket := await desk.ticket(request, camera_id, query.task, newest.captured_ms)):
        headers["x-frame-ticket"] = ticket
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=newest.jpeg, content_type="image/jpeg", headers=headers)


@route(
    "GET", "/api/v1/cameras/{camera_id}/stream", capability="ai:frames", camera="camera_id", tag="frames",
    produces="multipart/x-mixed-replace",
)  # fmt: skip
async def stream(request: web.Request, camera_id: str, query: StreamQuery) -> web.StreamResponse:
    """A stream as MJPEG, for people; ends when there are no current frames any more."""
    response = web.StreamResponse(
        headers={"content-type": f"multipart/x-mixed-replace; boundary={BOUNDARY}", "cache-control": "no-store"}
    )

    async def send(newest: Frame) -> None:
        await request.app[GUARD].authorise(request, stream)  # a credential may be revoked while it watches
        if not response.prepared:
            await response.prepare(request)
        await response.write(_part(newest))

    try:
        await request.app[DESK].watch(camera_id, query.profile, send)
    except (TimeoutError, ConnectionError):
        # Too slow, or gone: its connection is dropped, so that what it has not read is not kept for it.
        if request.transport is not None:
            request.transport.abort()
    except HeldardError:
        if not response.prepared:
            raise
        await response.write_eof()
    return response


ROUTES = (frame, stream)


def capture_ms(text: str) -> int:
    """The capture time named by an `x-frame-id`, by upstream's `<task>:<RFC 3339>`, or by either time alone.

    Raises InvalidError for anything else.
    """
    text = text.replace(" ", "+")  # a plus sign that was not percent-encoded in the query string
    for candidate in (text, text.partition(":")[2]):
        if candidate.isascii() and candidate.isdigit() and len(candidate) < 16:
            return int(candidate)
        try:
            return parse_rfc3339(candidate)
        except ValueError:
            continue
    raise InvalidError("after: give the x-frame-id of a frame, or its capture time", code="bad_frame_id")


def _part(newest: Frame) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(newest.jpeg)}\r\n"
    return f"{head}X-Frame-Captured-At: {rfc3339_offset(newest.captured_ms)}\r\n\r\n".encode() + newest.jpeg + b"\r\n"


def _why(status: SamplerStatus) -> str:
    return f"The stream is {status.state}: {status.reason}"
