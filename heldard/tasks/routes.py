"""`/api/v1/cameras/{id}/ai-tasks`, `/api/v1/ai-tasks/{id}`."""

from __future__ import annotations

from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, Reply, route
from heldard.errors import ForbiddenError
from heldard.tasks.model import Task, TaskCreate, TaskPatch, TaskView
from heldard.tasks.service import view


@route("GET", "/api/v1/cameras/{camera_id}/ai-tasks", capability="ai:tasks", camera="camera_id")
async def list_tasks(request: web.Request, camera_id: str) -> list[TaskView]:
    """A camera's tasks, oldest first, disabled ones too."""
    request.app[keys.CAMERAS].get(camera_id)
    return [view(task) for task in request.app[keys.TASKS].of_camera(camera_id)]


@route(
    "POST", "/api/v1/cameras/{camera_id}/ai-tasks", capability="registry:manage", camera="camera_id", status=201,
    also=(200,),
)  # fmt: skip
async def create_task(request: web.Request, camera_id: str, body: TaskCreate) -> Reply[TaskView]:
    """Run a detector on a camera; 200 with the existing task when the slot (type, profile) is taken."""
    task, created = await request.app[keys.TASKS].add(camera_id, body)
    return Reply(view(task), status=201 if created else 200)


@route("PATCH", "/api/v1/ai-tasks/{task_id}", capability="registry:manage")
async def patch_task(request: web.Request, task_id: str, body: TaskPatch) -> TaskView:
    """Change a task."""
    _own(request, task_id)
    return view(await request.app[keys.TASKS].change(task_id, body))


@route("DELETE", "/api/v1/ai-tasks/{task_id}", capability="registry:manage", status=204)
async def delete_task(request: web.Request, task_id: str) -> None:
    """Stop and remove a task."""
    _own(request, task_id)
    await request.app[keys.TASKS].remove(task_id)


def _own(request: web.Request, task_id: str) -> Task:
    """The task, when its camera is in scope; a scoped caller cannot tell another's task from a missing one."""
    task = request.app[keys.TASKS].find(task_id)
    if request[PRINCIPAL].scoped and (task is None or not request[PRINCIPAL].sees(task.camera_id)):
        raise ForbiddenError("that task is not of a camera in this credential's scope", code="out_of_scope")
    return request.app[keys.TASKS].get(task_id)


ROUTES = (list_tasks, create_task, patch_task, delete_task)
