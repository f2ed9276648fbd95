"""`/api/v1/ai/leases` and `/api/v1/ai/tasks`: what workers ask for."""

from __future__ import annotations

from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, Query, route
from heldard.clock import rfc3339, rfc3339_offset
from heldard.leases.model import Lease, LeaseAnswer, LeaseRequest, LeaseView, Released, WorkerId
from heldard.tasks.model import Task, WorkerTask
from heldard.tasks.service import worker_view


class WorkerQuery(Query, frozen=True, kw_only=True):
    """worker_id: who asks, for its share; everything without one."""

    worker_id: WorkerId | None = None


@route("POST", "/api/v1/ai/leases", capability="ai:tasks", tag="ai", audit=False)
async def claim(request: web.Request, body: LeaseRequest) -> LeaseAnswer:
    """Take or renew a worker's share of the tasks; the answer is all of it."""
    lease_id, expires_ms, tasks = await request.app[keys.LEASES].claim(request[PRINCIPAL], body)
    return LeaseAnswer(
        lease_id=lease_id,
        worker_id=body.worker_id,
        expires_at=rfc3339_offset(expires_ms),
        tasks=[worker_view(task) for task in tasks],
    )


@route("GET", "/api/v1/ai/leases", capability="ai:tasks", tag="ai")
async def list_leases(request: web.Request) -> list[LeaseView]:
    """Who has which task."""
    sees = request[PRINCIPAL].sees
    found = request.app[keys.LEASES].all()
    return [_view(lease, task, live) for lease, task, live in found if sees(task.camera_id)]


@route("DELETE", "/api/v1/ai/leases/{lease_id}", capability="ai:tasks", tag="ai", audit=False)
async def release(request: web.Request, lease_id: str) -> Released:
    """Give up what a lease holds, so that others need not wait for it to lapse."""
    return Released(await request.app[keys.LEASES].release(request[PRINCIPAL].id, lease_id))


@route("GET", "/api/v1/ai/tasks", capability="ai:tasks", tag="ai")
async def discover(request: web.Request, query: WorkerQuery) -> list[WorkerTask]:
    """What there is to work on, by id: enabled tasks of enabled cameras; with `worker_id`, that worker's share."""
    principal = request[PRINCIPAL]
    if query.worker_id is not None and query.worker_id.strip():
        return [worker_view(task) for task in request.app[keys.LEASES].discover(principal, query.worker_id)]
    return [worker_view(task) for task, camera in request.app[keys.TASKS].active() if principal.sees(camera.id)]


def _view(lease: Lease, task: Task, live: bool) -> LeaseView:
    return LeaseView(
        task_id=task.id,
        camera_id=task.camera_id,
        task_type=task.task_type,
        worker_id=lease.worker_id,
        credential=lease.credential,
        acquired_at=rfc3339(lease.acquired_ms),
        renewed_at=rfc3339(lease.renewed_ms),
        expires_at=rfc3339(lease.expires_ms),
        live=live,
    )


ROUTES = (claim, list_leases, release, discover)
