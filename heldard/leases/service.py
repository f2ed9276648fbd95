"""Grants leases, notices workers that are gone, and makes and checks frame tickets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from heldard import ids
from heldard.api.endpoint import Principal
from heldard.clock import Clock
from heldard.errors import ConflictError, InvalidError
from heldard.leases import ticket
from heldard.leases.model import DEFAULT_TTL_S, MOST_TASKS, TTL_RANGE_S, Lease, LeaseRequest
from heldard.leases.share import Member, assign
from heldard.leases.store import LeaseStore
from heldard.tasks.model import Task
from heldard.tasks.service import Tasks

MEMBER_S = 60.0
"""A worker that only asks for tasks, without leasing, counts for this long after it asked."""

SILENT_S = 15.0
"""A holder that neither renews nor pulls frames for this long, and a third of its lease, is gone."""

RESTART_SILENT_S = 6.0
"""The same for a holder of the same host and another process, once it had been pulling: it was restarted. Longer than a
worker waits in one long poll; three of its slowest frame periods are added."""

_PROCESS = re.compile(r"(.+):[0-9]+")


@dataclass
class _Worker:
    """A worker as it was last heard of. `seen` and `pulled`: monotonic seconds; pulled is None before its first frame.

    given: what a worker without leases was told last.
    """

    credential: str
    worker_id: str
    seen: float
    ttl_s: int = DEFAULT_TTL_S
    leases: bool = False
    pulled: float | None = None
    capacity: int = MOST_TASKS
    task_types: frozenset[str] | None = None
    given: set[str] = field(default_factory=set)


class Leases:
    """One task has one holder at a time. Everything is known in memory and written through."""

    def __init__(
        self, store: LeaseStore, tasks: Tasks, clock: Clock, key: bytes, ticket_ttl_s: int, *, bound_ids: bool
    ) -> None:
        """key: signs tickets, 32 random bytes per process. bound_ids: a worker id belongs to one credential."""
        self._store = store
        self._tasks = tasks
        self._clock = clock
        self._key = key
        self._ticket_ttl_s = ticket_ttl_s
        self._bound_ids = bound_ids
        self._leases: dict[str, Lease] = {}
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Leases outlive the daemon: after its restart everybody goes on with what they had."""
        now = self._clock.monotonic()
        self._leases = {lease.task_id: lease for lease in await self._store.all()}
        for lease in self._leases.values():
            if self._unexpired(lease):
                ttl_s = (lease.expires_ms - lease.renewed_ms) // 1000
                who = (lease.credential, lease.worker_id)
                self._workers[who] = _Worker(*who, now, ttl_s, leases=True)

    # --- granting ----------------------------------------------------------------------------------------------------

    async def claim(self, principal: Principal, request: LeaseRequest) -> tuple[str, int, list[Task]]:
        """Take or renew: (lease id, expiry in ms, all tasks that are this worker's now).

        What is another worker's fair share is given up here; what others hold stays theirs until they come for their
        renewal or fall silent. Raises InvalidError, ConflictError.
        """
        async with self._lock:
            worker = self._heard(principal.id, _worker_id(request.worker_id))
            worker.leases = True
            worker.ttl_s = _clamp(request.ttl_secs, DEFAULT_TTL_S, TTL_RANGE_S)
            worker.capacity = _clamp(request.max_tasks, MOST_TASKS, (1, MOST_TASKS))
            worker.task_types = None if request.task_types is None else frozenset(t.lower() for t in request.task_types)
            tasks = self._candidates(principal, lambda task_id: self._free_for(task_id, principal.id))
            share = self._share(worker, tasks)
            mine = [task_id for task_id in sorted(share) if self._may_take(task_id, worker)]
            return await self._grant(worker, [tasks[task_id] for task_id in mine])

    def discover(self, principal: Principal, worker_id: str) -> list[Task]:
        """A worker's share, without a lease. Raises ConflictError."""
        worker = self._heard(principal.id, worker_id)
        tasks = self._candidates(principal, lambda _: True)
        worker.given = self._share(worker, tasks)
        return [tasks[task_id] for task_id in sorted(worker.given)]

    async def release(self, credential: str, lease_id: str) -> int:
        """Give a lease up; how many tasks it held. Another credential's lease is not touched."""
        async with self._lock:
            held = [
                lease for lease in self._leases.values() if (lease.lease_id, lease.credential) == (lease_id, credential)
            ]
            await self._store.change((), [lease.task_id for lease in held])
            for lease in held:
                self._leases.pop(lease.task_id, None)
                self._workers.pop((credential, lease.worker_id), None)
            return len(held)

    async def _grant(self, worker: _Worker, tasks: list[Task]) -> tuple[str, int, list[Task]]:
        now_ms = self._clock.now_ms()
        lease_id, expires_ms = ids.new("lse"), now_ms + worker.ttl_s * 1000
        put = [
            Lease(
                task_id=task.id, lease_id=lease_id, credential=worker.credential, worker_id=worker.worker_id,
                acquired_ms=self._acquired_ms(task.id, worker, now_ms), renewed_ms=now_ms, expires_ms=expires_ms,
            )
            for task in tasks
        ]  # fmt: skip
        kept = {lease.task_id for lease in put}
        drop = [held for held in self._holdings(worker) if held not in kept]
        await self._store.change(put, drop)
        deleted = [task_id for task_id in self._leases if self._tasks.find(task_id) is None]
        for task_id in (*drop, *deleted):
            self._leases.pop(task_id, None)
        self._leases.update((lease.task_id, lease) for lease in put)
        return lease_id, expires_ms, tasks

    def _acquired_ms(self, task_id: str, worker: _Worker, now_ms: int) -> int:
        """Since when this holder has it; later than any earlier holder's term."""
        lease = self._leases.get(task_id)
        if lease is None:
            return now_ms
        if self._held_by(lease, worker):
            return lease.acquired_ms
        return max(now_ms, lease.acquired_ms + 1)

    def _heard(self, credential: str, worker_id: str) -> _Worker:
        """The worker, heard of now. Raises ConflictError when its id belongs to another credential."""
        now = self._clock.monotonic()
        for other in list(self._workers.values()):
            if now - other.seen > max(MEMBER_S, other.ttl_s):
                del self._workers[other.credential, other.worker_id]
            elif self._bound_ids and other.worker_id == worker_id and other.credential != credential:
                raise ConflictError(
                    f"worker id {worker_id!r} is in use by another credential: choose another id",
                    code="worker_id_taken",
                )
        worker = self._workers.setdefault((credential, worker_id), _Worker(credential, worker_id, now))
        worker.seen = now
        return worker

    def _candidates(self, principal: Principal, free: Callable[[str], bool]) -> dict[str, Task]:
        return {task.id: task for task, camera in self._tasks.active() if principal.sees(camera.id) and free(task.id)}

    def _free_for(self, task_id: str, credential: str) -> bool:
        lease = self._leases.get(task_id)
        if lease is None or lease.credential == credential or not self._unexpired(lease):
            return True
        holder = self._workers.get((lease.credential, lease.worker_id))
        return holder is None or not self._alive(holder)

    def _share(self, asking: _Worker, tasks: dict[str, Task]) -> set[str]:
        members = [
            Member(
                worker.worker_id,
                self._holdings(worker) if worker.leases else frozenset(worker.given),
                worker.capacity,
                worker.task_types,
            )
            for worker in self._workers.values()
            if worker.credential == asking.credential and self._alive(worker, asking)
        ]
        return assign({task.id: task.task_type for task in tasks.values()}, members)[asking.worker_id]

    def _may_take(self, task_id: str, worker: _Worker) -> bool:
        lease = self._leases.get(task_id)
        if lease is None or self._held_by(lease, worker) or not self._unexpired(lease):
            return True
        holder = self._workers.get((lease.credential, lease.worker_id))
        return holder is None or not self._alive(holder, worker)

    # --- who is there ------------------------------------------------------------------------------------------------

    def _alive(self, worker: _Worker, asking: _Worker | None = None) -> bool:
        """Whether a worker is taken to be running. Guessing wrong heals itself: whoever was passed over gets its share
        back when it renews."""
        if worker is asking:
            return True
        silent_s = self._clock.monotonic() - worker.seen
        if not worker.leases:
            return silent_s <= MEMBER_S
        holdings = self._holdings(worker)
        if not holdings:
            return silent_s <= max(SILENT_S, worker.ttl_s / 2)
        if asking is not None and worker.pulled is not None and _restarted(worker.worker_id, asking.worker_id):
            slowest = min((task.fps for held in holdings if (task := self._tasks.find(held))), default=1.0)
            return silent_s <= RESTART_SILENT_S + 3 / slowest
        return silent_s <= max(SILENT_S, worker.ttl_s / 3)

    def pulled(self, credential: str, task_id: str) -> None:
        """A frame of the task was asked for: its holder runs."""
        lease = self._leases.get(task_id)
        if lease is None or lease.credential != credential:
            return
        worker = self._workers.get((credential, lease.worker_id))
        if worker is not None:
            worker.seen = worker.pulled = self._clock.monotonic()

    def _holdings(self, worker: _Worker) -> frozenset[str]:
        return frozenset(
            lease.task_id for lease in self._leases.values() if self._held_by(lease, worker) and self._unexpired(lease)
        )

    def _held_by(self, lease: Lease, worker: _Worker) -> bool:
        return (lease.credential, lease.worker_id) == (worker.credential, worker.worker_id)

    def _unexpired(self, lease: Lease) -> bool:
        return self._clock.now_ms() < lease.expires_ms

    # --- looking up --------------------------------------------------------------------------------------------------

    def live(self, task_id: str, credential: str) -> Lease | None:
        """The task's lease while this credential holds it."""
        lease = self._leases.get(task_id)
        return lease if lease is not None and lease.credential == credential and self._unexpired(lease) else None

    def holder(self, task_id: str, credential: str) -> str | None:
        """The worker of this credential that has the task, or had it last."""
        lease = self._leases.get(task_id)
        return lease.worker_id if lease is not None and lease.credential == credential else None

    def all(self) -> list[tuple[Lease, Task, bool]]:
        """Every lease of an existing task, with whether it is live."""
        found = ((lease, self._tasks.find(lease.task_id)) for _, lease in sorted(self._leases.items()))
        return [(lease, task, self._unexpired(lease)) for lease, task in found if task is not None]

    # --- tickets -----------------------------------------------------------------------------------------------------

    def mint(self, credential: str, camera_id: str, task_id: str, captured_ms: int) -> str | None:
        """A ticket for a frame; None when the credential does not hold the task, or it is another camera's."""
        lease, task = self.live(task_id, credential), self._tasks.find(task_id)
        if lease is None or task is None or task.camera_id != camera_id:
            return None
        return ticket.mint(self._key, lease, camera_id, captured_ms, self._clock.now_ms(), self._ticket_ttl_s)

    def proves(self, peeked: ticket.Peeked, lease: Lease, camera_id: str) -> bool:
        """Whether a ticket was made here for that lease's holder and camera, and has not expired."""
        return ticket.verify(self._key, peeked, lease, camera_id, self._clock.now_ms())


def _worker_id(text: str) -> str:
    if not text.strip():
        raise InvalidError("worker_id: must not be blank")
    return text


def _clamp(value: int | None, default: int, bounds: tuple[int, int]) -> int:
    return default if value is None else max(bounds[0], min(bounds[1], value))


def _restarted(old: str, new: str) -> bool:
    """Whether two worker ids are two processes of one host: `<host>:<process id>`, as workers call themselves."""
    a, b = _PROCESS.fullmatch(old), _PROCESS.fullmatch(new)
    return a is not None and b is not None and a[1] == b[1] and old != new
