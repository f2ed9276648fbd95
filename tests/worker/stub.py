"""A kernel of the wire contract, small enough to be told what to answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = tuple[int, dict[str, Any] | str, dict[str, str]]


@dataclass
class StubKernel:
    """frames: (captured text, age, x-frame-id, ticket) per pull, the last for ever. answers: taken one by one for
    posts, then 200. Everything asked for is kept."""

    tasks: list[Any] = field(default_factory=list)
    leases: bool = True
    lease_answers: list[Answer] = field(default_factory=list)
    frames: list[dict[str, str] | int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    jpeg: bytes = b"jpeg"
    posts: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[web.Request] = field(default_factory=list)
    lease_calls: list[dict[str, Any]] = field(default_factory=list)
    task_calls: list[dict[str, str]] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    on_post: Callable[[], Any] | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v1/ai/leases", self._lease)
        app.router.add_delete("/api/v1/ai/leases/{lease}", self._release)
        app.router.add_get("/api/v1/ai/tasks", self._tasks)
        app.router.add_get("/api/v1/cameras/{camera}/frame", self._frame)
        app.router.add_post("/api/v1/ai/events", self._post)
        return app

    async def _lease(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.lease_calls.append(await request.json())
        if not self.leases:
            return web.json_response({"error": "no such path"}, status=404)
        if self.lease_answers:
            return _answer(self.lease_answers.pop(0))
        return web.json_response({"lease_id": "lse_1", "worker_id": "w", "expires_at": "", "tasks": self.tasks})

    async def _release(self, request: web.Request) -> web.Response:
        self.released.append(request.match_info["lease"])
        return web.json_response({"released": 1})

    async def _tasks(self, request: web.Request) -> web.Response:
        self.task_calls.append(dict(request.query))
        return web.json_response(self.tasks)

    async def _frame(self, request: web.Request) -> web.Response:
        self.pulls.append(request)
        said = self.frames.pop(0) if len(self.frames) > 1 else self.frames[0] if self.frames else 404
        if isinstance(said, int):
            return web.json_response({"error": "no frame"}, status=said)
        return web.Response(body=self.jpeg, content_type="image/jpeg", headers=said)

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.on_post is not None:
            await self.on_post()
        answer = self.answers.pop(0) if self.answers else (200, {"detections_ingested": len(body["detections"])}, {})
        self.posts.append(body | {"answered": answer[0]})
        return _answer(answer)


def _answer(answer: Answer) -> web.Response:
    status, body, headers = answer
    text = body if isinstance(body, str) else json.dumps(body)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


def frame(number: int, **more: str) -> dict[str, str]:
    """Headers of the frame taken in second `number`."""
    return {"x-frame-captured-at": f"2026-01-01T00:00:{number:02}+00:00", "x-frame-age-ms": "5"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


def task(task_id: str = "ai_1", **more: Any) -> dict[str, Any]:
    return {
        "id": task_id, "camera_id": "cam", "task_type": "detection", "stream_profile": "sub", "fps": 30.0,
        "width": 640, "config": {}, "frame_url": f"/api/v1/cameras/cam/frame?profile=sub&task={task_id}",
    } | more  # fmt: skip
