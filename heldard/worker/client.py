"""The wire between a worker and the kernel: leases, frames, results. Nothing here knows what a detector is.

    async with aiohttp.ClientSession() as session:
        kernel = Kernel(session, ClientSettings(api="http://127.0.0.1:8000"), SystemClock())
        for task in (await kernel.lease()).tasks:
            frame = await kernel.frame(task)

Works with every server of the same contract: a kernel without leases (404) is asked for tasks instead, one without
frame ids or long-poll is polled, tickets are echoed as they came.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import structlog
from yarl import URL

from heldard import __version__
from heldard.clock import Clock, parse_rfc3339
from heldard.worker.detector import Detection
from heldard.worker.retry import Backoff, parse_retry_after

MAX_DETECTIONS = 1000
"""The most a server takes in one post."""

_RETRIED = frozenset({408, 425, 429})
_NO_FRAME = frozenset({204, 304, 404, 425, 429, 503})


@dataclass(frozen=True)
class ClientSettings:
    """api: the server's address. api_key: sent as X-API-Key, empty for none. worker_id: who holds the leases; keep
    it the same over restarts. lease_ttl_s: 15..300. timeout_s: per request. give_up_s: how long a post that fails
    for a passing reason is tried. wait_s: how long a frame request may hang for the next frame."""

    api: str = "http://127.0.0.1:8000"
    api_key: str = field(default="", repr=False)
    worker_id: str = field(default_factory=socket.gethostname)
    task_types: tuple[str, ...] = ()
    lease_ttl_s: int = 60
    timeout_s: float = 10.0
    give_up_s: float = 60.0
    wait_s: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)


class KernelError(Exception):
    """The kernel could not be asked, or said no."""


class UnreachableError(KernelError):
    """No answer, or one that says "later": trying again may help."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RefusedError(KernelError):
    """The kernel answered and trying the same again is of no use. status: its HTTP status. body: its words."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body[:200].strip()}")
        self.status = status
        self.body = body

    @property
    def lease_lost(self) -> bool:
        """Whether leasing again can help: the lease or the ticket made under it is what was refused."""
        named = "frame_ticket" in self.body or "lease" in self.body
        return self.status == 409 or (self.status == 401 and named)


class TaskSpec(msgspec.Struct, frozen=True):
    """A task as the kernel hands it out. fps: how often to look, at most. config: for the detector."""

    id: str
    camera_id: str
    task_type: str
    frame_url: str
    stream_profile: str = "sub"
    fps: float = 5.0
    width: int = 1280
    config: Any = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.config if isinstance(self.config, dict) else {}

    @property
    def period_s(self) -> float:
        return 1 / max(self.fps, 0.1)


class _Granted(msgspec.Struct):
    tasks: list[msgspec.Raw] = []
    lease_id: str | None = None


@dataclass(frozen=True)
class Granted:
    """The complete list of this worker's tasks. lease_id: None from a kernel without leases."""

    tasks: tuple[TaskSpec, ...]
    lease_id: str | None


@dataclass(frozen=True)
class PulledFrame:
    """A frame as it came. captured: the x-frame-captured-at text, empty when absent. frame_id, ticket: None when the
    kernel gives none. age_ms: how old it was when sent, None when not said."""

    jpeg: bytes = field(repr=False)
    captured: str
    frame_id: str | None
    ticket: str | None
    age_ms: int | None

    @property
    def identity(self) -> str:
        """Tells frames apart; empty when the kernel gives nothing to tell them by."""
        return self.frame_id or self.captured

    def captured_ms(self, fallback_ms: int) -> int:
        """When it was taken, by the kernel's clock; `fallback_ms` where the kernel does not say readably."""
        try:
            return parse_rfc3339(self.captured)
        except ValueError:
            return fallback_ms

    def posted_id(self, task: TaskSpec) -> str | None:
        """What the results of this frame are known by, None where there is nothing to make it of."""
        if self.frame_id:
            return self.frame_id
        return f"{task.id}:{self.captured}" if self.captured else None


class Results(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen in one frame, as posted. epoch: names the run of the detector whose track ids these are."""

    camera_id: str
    task_type: str
    timestamp: str
    detections: list[Detection]  # without a default, so that an empty list is sent
    frame_id: str | None = None
    frame_ticket: str | None = None
    epoch: str = ""


class Ack(msgspec.Struct, frozen=True):
    """What the kernel made of a post. Every field is optional on the wire."""

    detections_ingested: int = 0
    duplicate: bool = False


class Kernel:
    """The calls. Safe to share between the tasks of one worker."""

    def __init__(self, session: aiohttp.ClientSession, settings: ClientSettings, clock: Clock) -> None:
        self.settings = settings
        self._session = session
        self._clock = clock
        self._base = URL(settings.api.rstrip("/"))
        self._leases = True
        self._log: Any = structlog.get_logger("heldard.worker")

    async def lease(self) -> Granted:
        """Take or renew the lease; the complete list of tasks that are this worker's now.

        Raises UnreachableError, RefusedError. A kernel that answers 404 is from then on asked for its tasks.
        """
        if not self._leases:
            return await self._unleased()
        body: dict[str, Any] = {"worker_id": self.settings.worker_id, "ttl_secs": self.settings.lease_ttl_s}
        if self.settings.task_types:
            body["task_types"] = list(self.settings.task_types)
        try:
            raw = await self._once("POST", self._base / "api/v1/ai/leases", body)
        except RefusedError as refusal:
            if refusal.status != 404:
                raise
            self._leases = False
            self._log.warning("leases_not_offered", api=self.settings.api, instead="/api/v1/ai/tasks")
            return await self._unleased()
        granted = _decoded(raw, _Granted)
        return Granted(self._readable(granted.tasks), granted.lease_id)

    async def _unleased(self) -> Granted:
        url = (self._base / "api/v1/ai/tasks").with_query(worker_id=self.settings.worker_id)
        tasks = self._readable(_decoded(await self._once("GET", url), list[msgspec.Raw]))
        wanted = self.settings.task_types
        return Granted(tuple(t for t in tasks if not wanted or t.task_type in wanted), None)

    def _readable(self, tasks: list[msgspec.Raw]) -> tuple[TaskSpec, ...]:
        """Those that can be understood; one that cannot is said and left out, it does not stop the others."""
        found = []
        for raw in tasks:
            try:
                found.append(msgspec.json.decode(raw, type=TaskSpec))
            except msgspec.ValidationError as error:
                self._log.error("task_not_understood", task=bytes(raw)[:200].decode(errors="replace"), error=str(error))
        return tuple(found)

    async def release(self, lease_id: str) -> None:
        """Give the lease back, so that the next holder need not wait for it to lapse."""
        await self._once("DELETE", self._base / "api/v1/ai/leases" / lease_id)

    async def frame(self, task: TaskSpec, after: str | None = None) -> PulledFrame | None:
        """The next frame of a task, None when there is no new one now.

        after: the `frame_id` of the last one; the kernel then holds the request until a newer one exists. Raises
        UnreachableError, RefusedError.
        """
        url = frame_address(self._base, task)
        if after is not None:
            url = url.update_query(after=after, wait=f"{self.settings.wait_s:g}")
        async with self._request("GET", url, wait_s=self.settings.wait_s) as response:
            if response.status in _NO_FRAME:
                return None
            await self._raise_for(response)
            return _frame(await response.read(), response.headers)

    async def post(self, results: Results) -> Ack:
        """Hand in results; tried again for passing faults until `give_up_s` is over. Raises UnreachableError then,
        RefusedError at once when the kernel will not take them."""
        url = self._base / "api/v1/ai/events"
        started = self._clock.monotonic()
        attempt = 0
        while True:
            try:
                raw = await self._once("POST", url, results)
                return _decoded(raw, Ack) if raw.strip().startswith(b"{") else Ack()
            except UnreachableError as fault:
                attempt += 1
                delay_s = self.settings.backoff.delay_s(attempt, random.random(), fault.retry_after_s)  # noqa: S311
                if self._clock.monotonic() + delay_s - started > self.settings.give_up_s:
                    raise
                if attempt == 1:
                    self._log.warning("post_delayed", camera=results.camera_id, cause=str(fault))
                await self._clock.sleep(delay_s)

    async def _once(self, method: str, url: URL, body: Any = None) -> bytes:
        async with self._request(method, url, body) as response:
            await self._raise_for(response)
            return await response.read()

    def _request(self, method: str, url: URL, body: Any = None, wait_s: float = 0.0) -> _Asking:
        headers = {"User-Agent": f"heldard-worker/{__version__}"}
        if self.settings.api_key:
            headers["X-API-Key"] = self.settings.api_key
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout_s + wait_s)
        return _Asking(self._session.request(method, url, headers=headers, data=data, timeout=timeout), url)

    async def _raise_for(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 400:
            return
        text = (await response.content.read(2000)).decode(errors="replace")
        if response.status >= 500 or response.status in _RETRIED:
            wanted = parse_retry_after(response.headers.get("Retry-After"), self._clock.now_ms())
            raise UnreachableError(f"{response.status}: {text[:200].strip()}", wanted)
        raise RefusedError(response.status, text)


class _Asking:
    """A request under way whose connection faults are UnreachableError."""

    def __init__(self, context: Any, url: URL) -> None:
        self._context = context
        self._url = url

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response: aiohttp.ClientResponse = await self._context.__aenter__()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        return response

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await self._context.__aexit__(kind, error, trace)
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> UnreachableError:
        what = str(error) or type(error).__name__
        return UnreachableError(f"{self._url.origin()} does not answer: {what}")


def frame_address(base: URL, task: TaskSpec) -> URL:
    """Where a task's frames are, on the kernel itself and nowhere else. Raises RefusedError for any other address."""
    path = task.frame_url
    if not path.startswith("/") or path.startswith("//") or "://" in path or ".." in path or "\\" in path:
        raise RefusedError(0, f"frame_url {path!r} of task {task.id} is not a path on the kernel")
    url = base.origin().join(URL(path)) if base.path in ("", "/") else URL(f"{base}{path}")
    return url if "task" in url.query else url.update_query(task=task.id)


def _frame(jpeg: bytes, headers: Mapping[str, str]) -> PulledFrame:
    age = headers.get("x-frame-age-ms", "")
    return PulledFrame(
        jpeg,
        captured=headers.get("x-frame-captured-at", ""),
        frame_id=headers.get("x-frame-id") or None,
        ticket=headers.get("x-frame-ticket") or None,
        age_ms=int(age) if age.isascii() and age.isdigit() and len(age) < 16 else None,
    )


def _decoded(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(f"the answer is not what the contract says: {error}") from error
