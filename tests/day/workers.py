"""Workers by the wire contract: lease, long-poll, look, post; a turn at a time, so that nothing races the clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from heldard.clock import parse_rfc3339, rfc3339
from tests.day.ledger import Ledger
from tests.day.street import seen_at
from tests.day.wire import Answer, Wire

RENEW_MS = 10_000
TTL_S = 60
WAIT_S = 20
EMPTY_MS = 30_000
"""An empty scene is told this often, and when it becomes empty."""
RETRY_MS = 5_000
PATIENCE_MS = 60_000
"""How long a batch is tried; the server may say no to older ones anyway, since their tickets are over."""

GIVES_UP, LOST_ANSWER, OWN_EVENT = 0.004, 0.01, 0.01
"""How often a worker hangs up before the answer, loses the answer, and adds an event of its own."""


@dataclass
class Runner:
    """One leased task."""

    spec: dict[str, Any]
    last_ms: int = 0
    after: str | None = None
    told_empty_ms: int = 0
    poll: asyncio.Task[Answer] | None = None

    @property
    def camera(self) -> str:
        return str(self.spec["camera_id"])


@dataclass
class Late:
    """A batch whose answer is not known. since_ms: when its picture was taken, and was true."""

    body: dict[str, Any]
    since_ms: int
    due_ms: int


@dataclass
class Worker:
    """One process that detects. `odd` counts the answers that are no frame, receipt or lease."""

    wire: Wire
    worker_id: str
    ledger: Ledger
    dice: random.Random
    runners: dict[str, Runner] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    lease_id: str = ""
    _renew_ms: int = 0

    async def turn(self, frames: dict[str, int]) -> None:
        """Do what there is to do now. frames: the streams that have a new frame, and when the box says it was taken."""
        now_ms = self.ledger.street_ms  # its host's clock is right, whatever the box's is
        if now_ms >= self._renew_ms:
            await self._lease(now_ms)
        await self._retry(now_ms)
        due = [
            runner for runner in self.runners.values() if frames.get(runner.camera, runner.last_ms) != runner.last_ms
        ]
        await asyncio.gather(*(self._look(runner, now_ms) for runner in due))

    async def leave(self) -> None:
        """Stop as on SIGTERM: give the lease back."""
        self.die()
        answer = await self.wire.call("DELETE", f"/api/v1/ai/leases/{self.lease_id}")
        assert answer.status == 200, answer

    def die(self) -> None:
        """End as on SIGKILL."""
        for runner in self.runners.values():
            _hang_up(runner)
        self.runners = {}

    # --- leases ------------------------------------------------------------------------------------------------------

    async def _lease(self, now_ms: int) -> None:
        self._renew_ms = now_ms + RENEW_MS
        answer = await self.wire.call("POST", "/api/v1/ai/leases", {"worker_id": self.worker_id, "ttl_secs": TTL_S})
        if answer.status != 200:
            self._note("lease", answer)
            return
        self.lease_id = answer.json["lease_id"]
        wanted = {spec["id"]: spec for spec in answer.json["tasks"]}
        for task_id in [task_id for task_id, runner in self.runners.items() if wanted.get(task_id) != runner.spec]:
            _hang_up(self.runners.pop(task_id))
        for task_id, spec in wanted.items():
            self.runners.setdefault(task_id, Runner(spec))

    # --- frames ------------------------------------------------------------------------------------------------------

    async def _look(self, runner: Runner, now_ms: int) -> None:
        """The frame that is known to be there, by the long poll that has been waiting for it."""
        for _ in range(3):  # a poll whose time ran out just before the frame came is asked again
            answer = await (runner.poll or self._poll(runner))
            runner.poll = None
            if answer.status == 200:
                break
            self._note("frame", answer)
        else:
            return
        self.frames += 1
        runner.after = answer.headers["x-frame-id"]
        runner.last_ms = parse_rfc3339(answer.headers["x-frame-captured-at"])
        runner.poll = self._poll(runner)
        await self._tell(runner, answer, now_ms)

    def _poll(self, runner: Runner) -> asyncio.Task[Answer]:
        path = runner.spec["frame_url"]
        if "task=" not in path:
            path += f"&task={runner.spec['id']}"
        if runner.after is not None:
            path += f"&after={runner.after}&wait={WAIT_S}"
        return asyncio.get_running_loop().create_task(self.wire.call("GET", path, limit_s=WAIT_S + 40))

    # --- results -----------------------------------------------------------------------------------------------------

    async def _tell(self, runner: Runner, frame: Answer, now_ms: int) -> None:
        seen = seen_at(runner.camera, now_ms, cars=runner.spec["task_type"] == "anpr")
        if not seen and now_ms - runner.told_empty_ms < EMPTY_MS:
            return
        runner.told_empty_ms = 0 if seen else now_ms
        body = {
            "camera_id": runner.camera, "task_type": runner.spec["task_type"], "timestamp": rfc3339(runner.last_ms),
            "frame_id": frame.headers["x-frame-id"], "epoch": self.worker_id, "detections": seen,
        }  # fmt: skip
        if "x-frame-ticket" in frame.headers:
            body["frame_ticket"] = frame.headers["x-frame-ticket"]
        if seen and self.dice.random() < OWN_EVENT:
            body["event"] = {"event_type": "bag_left", "severity": "warning", "payload": {"frame": body["frame_id"]}}
        await self._post(Late(body, now_ms, now_ms))

    async def _post(self, late: Late) -> None:
        """Send it; what the answer does not settle is sent again later, and now and then what it did settle."""
        frame_id = late.body["frame_id"]
        self.ledger.sent(late.body)
        limit_s = 0.001 if self.dice.random() < GIVES_UP else 60.0
        answer = await self.wire.call("POST", "/api/v1/ai/events", late.body, limit_s=limit_s)
        if answer.status == 200:
            self.ledger.acknowledged(late.body, answer.json, late.since_ms)
            if self.dice.random() < LOST_ANSWER:
                again = await self.wire.call("POST", "/api/v1/ai/events", late.body)
                assert again.status == 200, again
                assert again.json["duplicate"], again.json
                self.ledger.acknowledged(late.body, again.json, late.since_ms)
            return
        if answer.status in (0, 429, 503, 507):
            if answer.status:
                self._note("post", answer)
            wanted_s = float(answer.headers.get("Retry-After", 0))
            late.due_ms += max(RETRY_MS, round(wanted_s * 1000))
            self.late.append(late)
            return
        self._note("post", answer)
        self.ledger.refused(frame_id)
        if answer.status in (401, 409):
            self._renew_ms = 0

    async def _retry(self, now_ms: int) -> None:
        due = [late for late in self.late if late.due_ms <= now_ms]
        self.late = [late for late in self.late if late.due_ms > now_ms]
        for late in due:
            if now_ms - late.since_ms < PATIENCE_MS:
                late.due_ms = now_ms
                await self._post(late)
            else:
                self.ledger.given_up(late.body["frame_id"])

    def _note(self, what: str, answer: Answer) -> None:
        code = answer.json.get("code", "") if answer.body[:1] == b"{" else ""
        self.odd[f"{what} {answer.status} {code}".strip()] += 1


def _hang_up(runner: Runner) -> None:
    if runner.poll is not None:
        runner.poll.cancel()
        runner.poll = None
