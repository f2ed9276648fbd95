"""Leases as held, as asked for and as shown."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from heldard.tasks.model import WorkerTask

TTL_RANGE_S = (15, 300)
DEFAULT_TTL_S = 60
MOST_TASKS = 512

WorkerId = Annotated[str, Meta(max_length=200)]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One task's lease. lease_id: of the call that took or renewed it last. acquired_ms: since when this holder has it.

    It grants something until `expires_ms`; a row that lapsed still names who had the task last.
    """

    task_id: str
    lease_id: str
    credential: str
    worker_id: str
    acquired_ms: int
    renewed_ms: int
    expires_ms: int


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `POST /ai/leases`. max_tasks is clamped to 1..512, ttl_secs to 15..300."""

    worker_id: WorkerId
    task_types: list[str] | None = None
    max_tasks: int | None = None
    ttl_secs: int | None = None


class LeaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All tasks this worker has now, not a difference to before."""

    lease_id: str
    worker_id: str
    expires_at: str
    tasks: list[WorkerTask]


class LeaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as people see it."""

    task_id: str
    camera_id: str
    task_type: str
    worker_id: str
    credential: str
    acquired_at: str
    renewed_at: str
    expires_at: str
    live: bool


class Released(msgspec.Struct, frozen=True):
    released: int
