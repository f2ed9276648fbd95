"""Who may say what about which frame: a post is bound to its credential, and to its frame ticket where it has one.

Refusals that leasing again can help with are 401s that say `frame_ticket` or `lease`; workers act on those words, so no
other 401 contains them.
"""

from __future__ import annotations

from typing import Any, Literal

import structlog

from heldard.api.endpoint import Principal
from heldard.cameras.service import Cameras
from heldard.clock import Clock
from heldard.errors import ConflictError, ForbiddenError, UnauthenticatedError
from heldard.events.service import Events
from heldard.ingest import frame_id as frame_ids
from heldard.ingest.model import BatchPost
from heldard.ingest.service import Binding
from heldard.leases import ticket
from heldard.leases.model import Lease
from heldard.leases.service import Leases
from heldard.plugin import EventDraft
from heldard.tasks.model import Task
from heldard.tasks.service import Tasks

Tier = Literal["off", "warn", "enforce"]

NOTICE_EVERY_S = 3600.0
MOST_NOTICED = 1024
"""Credentials whose last notice is remembered."""


class Binder:
    """Turns a post and its credential into a binding, or refuses it."""

    def __init__(
        self, tier: Tier, leases: Leases, tasks: Tasks, cameras: Cameras, events: Events, clock: Clock
    ) -> None:
        self._tier = tier
        self._leases = leases
        self._tasks = tasks
        self._cameras = cameras
        self._events = events
        self._clock = clock
        self._noticed: dict[str, float] = {}
        self._log: Any = structlog.get_logger("heldard.ingest")

    async def bind(self, principal: Principal, post: BatchPost) -> Binding:
        """Raises UnauthenticatedError, ForbiddenError or ConflictError; the reference has the table."""
        if post.frame_ticket is not None and post.frame_ticket.strip():
            return self._by_ticket(principal, post, post.frame_ticket.strip())
        return await self._without(principal, post)

    async def _without(self, principal: Principal, post: BatchPost) -> Binding:
        if self._tier == "enforce":
            raise UnauthenticatedError(
                "frame_ticket_required: take a lease, pull the frame with task=, and send its x-frame-ticket back",
                code="frame_ticket_required",
            )
        if not principal.sees(post.camera_id):
            raise _out_of_scope()
        if self._tier == "warn":
            await self._notice(principal.id, post)
        parsed = None if not post.frame_id else frame_ids.parse(post.frame_id)
        worker = None if parsed is None else self._leases.holder(parsed[0], principal.id)
        return Binding(post.camera_id, post.task_type, post.frame_id or None, principal.id, worker=worker)

    def _by_ticket(self, principal: Principal, post: BatchPost, text: str) -> Binding:
        peeked = ticket.peek(text)
        if peeked is None:
            raise UnauthenticatedError("frame_ticket is not one of this server: pull the frame again",
                                       code="frame_ticket_unreadable")  # fmt: skip
        lease = self._leases.live(peeked.task_id, principal.id)
        task = self._tasks.find(peeked.task_id)
        if lease is None or task is None:
            raise UnauthenticatedError("this credential holds no live lease on the ticket's task: lease again",
                                       code="lease_missing")  # fmt: skip
        if not self._leases.proves(peeked, lease, task.camera_id):
            raise UnauthenticatedError(
                "frame_ticket has expired, or was made for another holder or server: pull the frame again",
                code="frame_ticket_invalid",
            )
        self._check_task(principal, task)
        _check_same(post, task)
        return self._ticketed(principal, task, peeked, lease)

    def _ticketed(self, principal: Principal, task: Task, peeked: ticket.Peeked, lease: Lease) -> Binding:
        return Binding(
            task.camera_id, task.task_type, frame_ids.canonical(task.id, peeked.captured_ms), principal.id,
            task_id=task.id, captured_ms=peeked.captured_ms, worker=lease.worker_id, ticketed=True,
        )  # fmt: skip

    def _check_task(self, principal: Principal, task: Task) -> None:
        camera = self._cameras.find(task.camera_id)
        if not task.enabled or camera is None or not camera.enabled:
            raise ForbiddenError("the ticket's task or its camera is disabled", code="task_disabled")
        if not principal.sees(task.camera_id):
            raise _out_of_scope()

    async def _notice(self, credential: str, post: BatchPost) -> None:
        """Say once an hour and credential that posts come without tickets."""
        now = self._clock.monotonic()
        last = self._noticed.get(credential)
        if last is not None and now - last < NOTICE_EVERY_S:
            return
        if len(self._noticed) >= MOST_NOTICED:
            self._noticed.pop(next(iter(self._noticed)))
        self._noticed.pop(credential, None)
        self._noticed[credential] = now
        self._log.warning("ingest_unleased", credential=credential, camera=post.camera_id)
        camera_id = post.camera_id if self._cameras.find(post.camera_id) is not None else None
        payload = {"credential": credential, "task_type": post.task_type}
        await self._events.emit(EventDraft("ingest_unleased", self._clock.now_ms(), "warning", camera_id, payload))


def _check_same(post: BatchPost, task: Task) -> None:
    for name, said, leased in (
        ("camera_id", post.camera_id, task.camera_id),
        ("task_type", post.task_type, task.task_type),
    ):
        if said and said != leased:
            raise ConflictError(
                f"{name} is {said!r}, but the frame's ticket is for {leased!r}", code="ticket_contradicted"
            )


def _out_of_scope() -> ForbiddenError:
    return ForbiddenError("that camera is outside this credential's scope", code="out_of_scope")
