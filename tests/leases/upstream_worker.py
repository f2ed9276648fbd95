"""Upstream's worker, as far as a server can tell: requests, retries, reactions and defects. From the wire contract.

One call of `tick` is one round of its supervisor, one call of `Runner.cycle` one round of a task's thread, so that
tests decide the order of things. Time and delays go through `sleep`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

USER_AGENT = "heldar-ai-worker/1.0"
MOST_DETECTIONS = 1000


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes
    json: Any = None


class RefusedError(Exception):
    """A 4xx, with the first 200 characters of its body, which is all the worker looks at."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail

    @property
    def lease_problem(self) -> bool:
        return self.status == 409 or (self.status == 401 and ("frame_ticket" in self.detail or "lease" in self.detail))


class UnreachableError(Exception):
    """Retries ran out."""


@dataclass
class UpstreamWorker:
    session: aiohttp.ClientSession
    api: str
    worker_id: str
    api_key: str = ""
    lease_ttl: int = 60
    max_retries: int = 5
    sleep: Callable[[float], Awaitable[None]] | None = None
    delays: list[float] = field(default_factory=list)
    leases: bool = True
    lease_id: str | None = None
    woken: bool = False
    runners: dict[str, Runner] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    # --- requests ---------------------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
        if self.api_key:
            headers["X-API-Key"] = self.api_key
        for attempt in range(self.max_retries + 1):
            try:
                async with self.session.request(method, self.api + path, json=body, headers=headers) as response:
                    raw = await response.read()
                    if response.status < 500:
                        return self._answer(response, raw)
            except aiohttp.ClientConnectionError:
                pass
            delay = min(15.0, 0.5 * 2**attempt)
            self.delays.append(delay)
            if self.sleep is not None:
                await self.sleep(delay)
        raise UnreachableError(path)

    def _answer(self, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        if response.status >= 400:
            raise RefusedError(response.status, raw.decode(errors="replace")[:200])
        answer = Answer(response.status, response.headers, raw)
        if response.content_type == "application/json" and raw:
            answer.json = json.loads(raw)
        return answer

    # --- supervisor -------------------------------------------------------------------------------------------------

    async def tick(self) -> list[str]:
        """One round: learn the tasks, start and stop runners; the ids of the tasks that run."""
        self.woken = False
        try:
            tasks = await self._tasks()
        except (RefusedError, UnreachableError) as error:
            self.errors.append(str(error))
            return sorted(self.runners)
        wanted = {task["id"]: task for task in tasks}  # a task without an id fails the whole round, as upstream
        for task_id in list(self.runners):
            if task_id not in wanted:
                del self.runners[task_id]
        for task_id, task in wanted.items():
            runner = Runner(self, task)
            if task_id not in self.runners or self.runners[task_id].signature != runner.signature:
                self.runners[task_id] = runner
        return sorted(self.runners)

    async def _tasks(self) -> list[dict[str, Any]]:
        if self.leases:
            try:
                body = {"worker_id": self.worker_id, "ttl_secs": self.lease_ttl}
                answer = await self.call("POST", "/api/v1/ai/leases", body)
            except RefusedError as refused:
                if refused.status != 404:
                    raise
                self.leases = False  # for the life of the process
            else:
                self.lease_id = answer.json["lease_id"]
                return list(answer.json.get("tasks", []))
        answer = await self.call("GET", f"/api/v1/ai/tasks?worker_id={quote(self.worker_id, safe='')}")
        return list(answer.json)

    async def embed_poller(self) -> bool:
        """Whether the embedding thread goes on after its first poll."""
        try:
            await self.call("GET", f"/api/v1/ai/embed-queries?worker_id={quote(self.worker_id, safe='')}")
        except RefusedError as refused:
            return refused.status != 404
        return True


class Runner:
    """One task's thread."""

    def __init__(self, worker: UpstreamWorker, task: dict[str, Any]) -> None:
        self.worker = worker
        self.task = task
        self.camera_id = task["camera_id"]
        self.task_type = task["task_type"]
        self.frame_url = task["frame_url"]
        self.fps = float(task.get("fps", 5.0))
        self.last_captured = ""

    @property
    def signature(self) -> tuple[Any, ...]:
        task = self.task
        return (
            self.task_type, task.get("stream_profile", "sub"), round(self.fps, 4), task.get("width", 1280),
            self.frame_url, repr(task.get("config")),
        )  # fmt: skip

    async def cycle(self, detections: list[dict[str, Any]], event: dict[str, Any] | None = None) -> Any:
        """Pull, analyse, post. What the server answered, or a word for why nothing was posted."""
        assert self.frame_url.startswith("/")
        assert "://" not in self.frame_url
        assert ".." not in self.frame_url
        url = self.frame_url if "task=" in self.frame_url else f"{self.frame_url}&task={self.task['id']}"
        try:
            frame = await self.worker.call("GET", url)
        except RefusedError as refused:
            return "no frame" if refused.status == 404 else f"error {refused.status}"
        captured = frame.headers.get("x-frame-captured-at", "")
        if captured and captured == self.last_captured:
            return "unchanged"
        age = frame.headers.get("x-frame-age-ms", "")
        if age.isdigit() and int(age) > max(2000, 3000 / self.fps):
            return "stale"
        self.last_captured = captured
        if not detections and event is None:
            return "nothing seen"
        return await self._post(detections, event, captured, frame.headers.get("x-frame-ticket", ""))

    async def _post(self, detections: list[Any], event: Any, captured: str, ticket: str) -> Any:
        body: dict[str, Any] = {
            "camera_id": self.camera_id,
            "task_type": self.task_type,
            "timestamp": "2026-11-20T13:13:31.695136+00:00",
            "detections": detections[:MOST_DETECTIONS],
        }
        if captured:
            body["frame_id"] = f"{self.task['id']}:{captured}"
        if ticket:
            body["frame_ticket"] = ticket
        if event is not None:
            body["event"] = event
        try:
            answer = await self.worker.call("POST", "/api/v1/ai/events", body)
        except RefusedError as refused:
            if refused.lease_problem:
                self.last_captured = ""
                self.worker.woken = True
            self.worker.errors.append(str(refused))
            return refused.status
        except UnreachableError:
            self.worker.errors.append("unreachable")
            return "lost"
        return answer.json
